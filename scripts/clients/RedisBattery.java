import io.lettuce.core.*;
import io.lettuce.core.api.sync.*;
import io.lettuce.core.cluster.*;
import io.lettuce.core.protocol.ProtocolVersion;
import io.lettuce.core.pubsub.RedisPubSubAdapter;
import java.util.*;
import java.util.concurrent.*;
import redis.clients.jedis.*;

/** What an application does with Jedis and with Lettuce, through sidewire: RedisBattery.java standalone|cluster HOST PORT. */
public class RedisBattery {
    static void check(String what, Object got, Object want) {
        if (!Objects.equals(got, want)) {
            System.err.println(what + ": " + got + ", want " + want);
            System.exit(1);
        }
    }

    static final int KEYS = 50;
    static final String LARGE = "x".repeat(3 << 20);

    static void jedis(boolean cluster, String host, int port, RedisProtocol protocol) throws Exception {
        HostAndPort at = new HostAndPort(host, port);
        JedisClientConfig config = DefaultJedisClientConfig.builder().protocol(protocol).build();
        try (UnifiedJedis c = cluster ? new JedisCluster(Set.of(at), config) : new JedisPooled(at, config)) {
            c.flushAll();
            for (int i = 0; i < KEYS; i++) c.set("k" + i, "" + i);
            check("GET", c.get("k7"), "7");
            List<Response<Long>> grown = new ArrayList<>();
            try (AbstractPipeline p = c.pipelined()) {
                for (int i = 0; i < KEYS; i++) grown.add(p.incr("k" + i));
            }
            for (int i = 0; i < KEYS; i++) check("pipeline", grown.get(i).get(), i + 1L);
            c.hset("hash", Map.of("a", "1", "b", "2"));
            check("HGETALL", c.hgetAll("hash"), Map.of("a", "1", "b", "2"));
            c.zadd("scores", 1.5, "x");
            check("ZRANGE", c.zrangeWithScores("scores", 0, -1).get(0).getScore(), 1.5);
            check("EVAL", c.eval("return redis.call('GET', KEYS[1])", List.of("k1"), List.of()), "2");
            c.rpush("queue", "job");
            check("BLPOP", c.blpop(5, "queue"), List.of("queue", "job"));
            c.set("large", LARGE);
            check("a large value", c.get("large").equals(LARGE), true);
            if (cluster) return;
            check("MGET", c.mget("k1", "k2", "none"), Arrays.asList("2", "3", null));
            try (AbstractTransaction tx = c.multi()) {
                tx.set("k1", "new");
                Response<String> got = tx.get("k1");
                check("MULTI", tx.exec().size(), 2);
                check("EXEC", got.get(), "new");
            }
        }
    }

    static <S extends RedisStringCommands<String, String> & RedisHashCommands<String, String> & RedisSortedSetCommands<String, String>
            & RedisListCommands<String, String> & RedisScriptingCommands<String, String> & RedisKeyCommands<String, String>> void lettuce(S c) {
        Map<String, String> pairs = new TreeMap<>();
        for (int i = 0; i < KEYS; i++) pairs.put("l" + i, "" + i);
        check("MSET", c.mset(pairs), "OK");
        check("MGET", c.mget(pairs.keySet().toArray(String[]::new)).stream().map(KeyValue::getValue).toList(), List.copyOf(pairs.values()));
        c.hset("lhash", Map.of("a", "1", "b", "2"));
        check("HGETALL", c.hgetall("lhash"), Map.of("a", "1", "b", "2"));
        c.zadd("lscores", 1.5, "x");
        check("ZRANGE", c.zrangeWithScores("lscores", 0, -1).get(0).getScore(), 1.5);
        check("EVAL", c.eval("return redis.call('GET', KEYS[1])", ScriptOutputType.VALUE, "l1"), "1");
        c.rpush("lqueue", "job");
        check("BLPOP", c.blpop(5, "lqueue").getValue(), "job");
        c.set("llarge", LARGE);
        check("a large value", c.get("llarge").equals(LARGE), true);
        Set<String> found = new TreeSet<>();
        for (KeyScanCursor<String> at = null; at == null || !at.isFinished(); ) {
            at = at == null ? c.scan(ScanArgs.Builder.matches("l?").limit(7)) : c.scan(at, ScanArgs.Builder.matches("l?").limit(7));
            found.addAll(at.getKeys());
        }
        check("SCAN", found.size(), 10);
        check("DEL", c.del(pairs.keySet().toArray(String[]::new)), (long) KEYS);
    }

    static void lettuce(boolean cluster, String host, int port, ProtocolVersion protocol) throws Exception {
        RedisURI at = RedisURI.create(host, port);
        if (cluster) {
            RedisClusterClient client = RedisClusterClient.create(at);
            client.setOptions(ClusterClientOptions.builder().protocolVersion(protocol).build());
            lettuce(client.connect().sync());
            client.shutdown(0, 1, TimeUnit.SECONDS);
            return;
        }
        RedisClient client = RedisClient.create(at);
        client.setOptions(ClientOptions.builder().protocolVersion(protocol).build());
        RedisCommands<String, String> c = client.connect().sync();
        lettuce(c);
        c.multi();
        c.incr("lcount");
        check("EXEC", c.exec().get(0), 1L);
        c.del("lcount");
        CompletableFuture<String> heard = new CompletableFuture<>();
        var channel = client.connectPubSub();
        channel.addListener(new RedisPubSubAdapter<String, String>() {
            @Override public void message(String from, String text) { heard.complete(text); }
        });
        channel.sync().subscribe("lnews");
        check("PUBLISH", c.publish("lnews", "hello"), 1L);
        check("a message", heard.get(10, TimeUnit.SECONDS), "hello");
        client.shutdown(0, 1, TimeUnit.SECONDS);
    }

    public static void main(String[] args) throws Exception {
        boolean cluster = args[0].equals("cluster");
        int port = Integer.parseInt(args[2]);
        for (RedisProtocol p : new RedisProtocol[] {RedisProtocol.RESP2, RedisProtocol.RESP3}) jedis(cluster, args[1], port, p);
        for (ProtocolVersion p : ProtocolVersion.values()) lettuce(cluster, args[1], port, p);
        System.out.println("Jedis and Lettuce, " + args[0] + ": passed");
        System.exit(0);
    }
}
