// Writes java.txt: what Java answers where Java's rules decide. Run with: java Vectors.java > java.txt
import java.math.BigDecimal;
import java.math.BigInteger;
import java.text.DecimalFormat;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.util.Random;

public class Vectors {
    static void out(Object... parts) {
        StringBuilder b = new StringBuilder();
        for (Object p : parts) {
            if (b.length() > 0) b.append('\t');
            b.append(String.valueOf(p));
        }
        System.out.println(b);
    }

    static long hash(Object o) { return Math.abs((long) o.hashCode()); }

    public static void main(String[] args) throws Exception {
        System.setOut(new java.io.PrintStream(System.out, true, "UTF-8"));
        java.util.Locale.setDefault(java.util.Locale.ROOT);
        Random r = new Random(7);
        long[] fixed = {0, 1, -1, 2, -2, 7, -7, 100, Integer.MAX_VALUE, Integer.MIN_VALUE, Integer.MAX_VALUE + 1L, Integer.MIN_VALUE - 1L,
            Long.MAX_VALUE, Long.MIN_VALUE, Long.MIN_VALUE + 1, 4294967296L, -4294967296L, 1L << 33, -(1L << 40) + 5};
        for (int i = 0; i < 300; i++) {
            long n = i < fixed.length ? fixed[i] : i % 3 == 0 ? r.nextInt() : i % 3 == 1 ? r.nextLong() : r.nextInt(2000) - 1000;
            Object canonical = n == (int) n ? (Object) Integer.valueOf((int) n) : (Object) Long.valueOf(n);
            for (int count : new int[] {1, 2, 3, 4, 7, 10, 16, 1000}) {
                out("hash_mod", n, count, hash(canonical) % count, hash(Long.valueOf(n)) % count);
                out("mod", n, count, BigInteger.valueOf(n).mod(BigInteger.valueOf(count)));
            }
            out("remainder", n, 7, n == (int) n ? (Object) ((int) n % 7) : (Object) (n % 7));
            out("intabs", n, n == (int) n ? (Object) Math.abs((int) n) : (Object) Math.abs(n));
            out("times", n, n == (int) n ? (Object) ((int) n * 31) : (Object) (n * 31));
        }
        for (String s : new String[] {"9223372036854775808", "18446744073709551615", "12345678901234567890"}) {
            out("hash_big", s, 16, hash(new BigInteger(s)) % 16);
        }
        String[] strings = {"", "a", "A", "order-1", "550e8400-e29b-41d4-a716-446655440000", "\u00e9\u00df", "\u4f60\u597d", "\ud83d\ude00", "-1", "0",
            "polygenelubricants", "zzzzzzzzzzzzzzzzzzzzzzzz"};
        for (String s : strings) {
            out("hash_text", s, 16, hash(s) % 16, s.hashCode());
        }
        LocalDateTime lower = LocalDateTime.of(2020, 1, 1, 0, 0, 0);
        DateTimeFormatter f = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss");
        for (int seconds : new int[] {1, 3, 7, 60, 86400, 100000}) {
            long span = java.time.Duration.between(lower, LocalDateTime.of(2020, 1, 10, 0, 0, 0)).toMillis() / 1000;
            int amount = (int) (Math.ceil((double) (span / seconds)) + 2);
            if (amount > 20000) continue;
            for (int i = 0; i < 60; i++) {
                long e = i == 0 ? 0 : i == 1 ? -5 : i == 2 ? seconds : i == 3 ? seconds + 1 : r.nextInt(1200000) - 100000;
                String position = new DecimalFormat("0.00").format((double) e / seconds);
                int p = Math.min(Math.max(0, (int) Math.ceil(Double.parseDouble(position))), amount - 1);
                out("auto_interval", lower.plusSeconds(e).format(f), seconds, amount, p);
            }
        }
        String[][] patterns = {{"yyyy-MM-dd HH:mm:ss", "yyyyMM", "MONTHS", "1"}, {"yyyy-MM-dd HH:mm:ss", "yyyyMMdd", "DAYS", "1"},
            {"yyyy-MM-dd HH:mm:ss", "yyyy", "YEARS", "1"}, {"yyyy-MM-dd HH:mm:ss.SSS", "yyyyMMdd'_'HH", "HOURS", "6"},
            {"yyyy-MM-dd HH:mm:ss", "yyyy_MM", "MONTHS", "3"}, {"yyyy-MM-dd HH:mm:ss", "yyMMdd", "WEEKS", "1"}};
        for (String[] p : patterns) {
            DateTimeFormatter full = DateTimeFormatter.ofPattern(p[0]);
            DateTimeFormatter suffix = DateTimeFormatter.ofPattern(p[1]);
            ChronoUnit unit = ChronoUnit.valueOf(p[2]);
            LocalDateTime from = LocalDateTime.of(2023, 1, 31, 0, 0, 0);
            LocalDateTime to = LocalDateTime.of(2024, 4, 2, 0, 0, 0);
            for (int i = 0; i < 40; i++) {
                LocalDateTime at = from.plusSeconds(r.nextInt(36000000));
                if (at.isAfter(to)) continue;
                LocalDateTime step = from;
                while (!step.plus(Long.parseLong(p[3]), unit).isAfter(at)) step = step.plus(Long.parseLong(p[3]), unit);
                out("interval", p[0], p[1], p[2], p[3], at.format(full), step.format(suffix));
            }
        }
    }
}
