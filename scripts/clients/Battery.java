import java.sql.*;
import java.util.Arrays;
import java.util.Objects;

/** What an application does with a JDBC driver, through sidewire: Battery.java URL USER PASSWORD. */
public class Battery {
    static void check(String what, Object got, Object want) {
        if (!Objects.equals(got, want)) {
            System.err.println(what + ": " + got + ", want " + want);
            System.exit(1);
        }
    }

    static String one(Connection c, String sql, Object... args) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < args.length; i++) s.setObject(i + 1, args[i]);
            try (ResultSet r = s.executeQuery()) {
                return r.next() ? r.getString(1) : null;
            }
        }
    }

    static void statements(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute("DROP TABLE IF EXISTS jdbc_t");
            s.execute("CREATE TABLE jdbc_t (id INT AUTO_INCREMENT PRIMARY KEY, d DECIMAL(20,5), t DATETIME(6), v LONGTEXT CHARACTER SET utf8mb4, b LONGBLOB)");
        }
        byte[] big = new byte[3 << 20];
        for (int i = 0; i < big.length; i++) big[i] = (byte) (i * 31);
        try (PreparedStatement s = c.prepareStatement("INSERT INTO jdbc_t (d, t, v, b) VALUES (?, ?, ?, ?)", Statement.RETURN_GENERATED_KEYS)) {
            s.setBigDecimal(1, new java.math.BigDecimal("12345.67890"));
            s.setTimestamp(2, Timestamp.valueOf("2026-11-22 10:11:12"));
            s.setString(3, "naïve 日本語 😀 'x' \\");
            s.setBytes(4, big);
            check("INSERT", s.executeUpdate(), 1);
            try (ResultSet keys = s.getGeneratedKeys()) {
                keys.next();
                check("generated key", keys.getLong(1), 1L);
            }
        }
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT d, t, v, b FROM jdbc_t WHERE id = 1")) {
            r.next();
            check("DECIMAL", r.getBigDecimal(1).toString(), "12345.67890");
            check("DATETIME", r.getTimestamp(2).toString(), "2026-11-22 10:11:12.0");
            check("text", r.getString(3), "naïve 日本語 😀 'x' \\");
            check("blob", Arrays.equals(r.getBytes(4), big), true);
        }
        check("prepared", one(c, "SELECT CONCAT(?, ':', LENGTH(b)) FROM jdbc_t WHERE id = ?", "a", 1), "a:" + big.length);
    }

    static void transactions(Connection c) throws SQLException {
        c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        c.setAutoCommit(false);
        try (PreparedStatement s = c.prepareStatement("INSERT INTO jdbc_t (v) VALUES (?)")) {
            for (int i = 0; i < 1000; i++) {
                s.setString(1, "row " + i);
                s.addBatch();
            }
            check("batch", s.executeBatch().length, 1000);
        }
        Savepoint p = c.setSavepoint("here");
        try (Statement s = c.createStatement()) {
            s.executeUpdate("DELETE FROM jdbc_t");
        }
        c.rollback(p);
        check("after the savepoint", one(c, "SELECT COUNT(*) FROM jdbc_t"), "1001");
        c.rollback();
        c.setAutoCommit(true);
        check("after ROLLBACK", one(c, "SELECT COUNT(*) FROM jdbc_t"), "1");
        try (Statement s = c.createStatement()) {
            s.execute("SELEKT");
            check("a wrong statement", "passed", "refused");
        } catch (SQLException e) {
            check("SQLSTATE", e.getSQLState() + " " + e.getErrorCode(), "42000 1064");
        }
    }

    static void results(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute("DROP PROCEDURE IF EXISTS jdbc_p");
            s.execute("CREATE PROCEDURE jdbc_p (IN a INT, OUT b INT) BEGIN SELECT a; SELECT a + 1 UNION SELECT a + 2; SET b = a * 2; END");
        }
        try (CallableStatement s = c.prepareCall("{CALL jdbc_p(?, ?)}")) {
            s.setInt(1, 21);
            s.registerOutParameter(2, Types.INTEGER);
            int rows = 0;
            for (boolean more = s.execute(); more; more = s.getMoreResults())
                try (ResultSet r = s.getResultSet()) {
                    while (r.next()) rows++;
                }
            check("rows of a procedure", rows, 3);
            check("OUT", s.getInt(2), 42);
        }
        try (Statement s = c.createStatement()) {
            int results = 0;
            boolean more = s.execute("SELECT 1; INSERT INTO jdbc_t (v) VALUES ('x'); SELECT 3");
            for (; more || s.getUpdateCount() >= 0; more = s.getMoreResults()) results++;
            check("several statements", results, 3);
        }
        try (Statement s = c.createStatement()) {
            s.setFetchSize(7); // a cursor, or rows one by one
            String from = "(SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) t";
            long sum = 0;
            try (ResultSet r = s.executeQuery("SELECT x.n + 5 * y.n + 25 * z.n FROM " + from.replace(" t", " x") + ", " + from.replace(" t", " y") + ", " + from.replace(" t", " z"))) {
                while (r.next()) sum += r.getLong(1);
            }
            check("fetched in parts", sum, 7750L);
        }
        c.setCatalog("information_schema");
        check("another database", one(c, "SELECT DATABASE()"), "information_schema");
        check("alive", c.isValid(5), true);
    }

    public static void main(String[] a) throws Exception {
        for (String options : a[0].startsWith("jdbc:mariadb:")
                ? new String[] {"sslMode=trust", "sslMode=disable&useServerPrepStmts=true", "sslMode=trust&useCompression=true", "sslMode=trust&useBulkStmts=true"}
                : new String[] {"sslMode=REQUIRED", "sslMode=DISABLED&useServerPrepStmts=true&cachePrepStmts=true&allowPublicKeyRetrieval=true", "sslMode=REQUIRED&useCompression=true",
                    "sslMode=REQUIRED&useCursorFetch=true&rewriteBatchedStatements=true"}) {
            try (Connection c = DriverManager.getConnection(a[0] + "?allowMultiQueries=true&" + options, a[1], a[2])) {
                statements(c);
                transactions(c);
                results(c);
            } catch (SQLException e) {
                throw new Exception("with " + options, e);
            }
        }
        System.out.println(a[0].split("//")[0] + " passed");
    }
}
