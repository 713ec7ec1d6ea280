"""What an application does with redis-py, through sidewire: battery.py standalone|cluster HOST PORT."""
import sys
import threading

import redis

face, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])


def connect(protocol):
    if face == "cluster":
        return redis.RedisCluster(host=host, port=port, protocol=protocol, decode_responses=True)
    return redis.Redis(host=host, port=port, protocol=protocol, decode_responses=True)


def check(what, got, want):
    if got != want:
        sys.exit(f"{what}: {got!r}, want {want!r}")


for protocol in (2, 3):
    c = connect(protocol)
    c.flushall()
    for i in range(50):
        c.set(f"k{i}", i)
    check("GET", c.get("k7"), "7")
    check("MGET", (c.mget_nonatomic if face == "cluster" else c.mget)([f"k{i}" for i in range(50)]), [str(i) for i in range(50)])
    pipe = c.pipeline(transaction=False)
    for i in range(50):
        pipe.incr(f"k{i}")
    check("pipeline", pipe.execute(), list(range(1, 51)))
    check("SCAN", sorted(c.scan_iter(match="k*", count=7)), sorted(f"k{i}" for i in range(50)))
    c.hset("hash", mapping={"a": 1, "b": 2})
    check("HGETALL", c.hgetall("hash"), {"a": "1", "b": "2"})
    c.zadd("scores", {"x": 1.5, "y": 2})
    check("ZRANGE", c.zrange("scores", 0, -1, withscores=True)[0][1], 1.5)
    check("script", c.register_script("return redis.call('GET', KEYS[1])")(keys=["k1"]), "2")
    c.rpush("queue", "job")
    check("BLPOP", tuple(c.blpop(["queue"], timeout=5)), ("queue", "job"))
    large = "x" * (3 << 20)
    c.set("large", large)
    check("a large value", c.get("large") == large, True)
    if face == "standalone":
        with c.pipeline() as tx:
            tx.watch("k1")
            tx.multi()
            tx.set("k1", "new")
            tx.get("k1")
            check("MULTI", tx.execute(), [True, "new"])
        got = []
        sub = c.pubsub(ignore_subscribe_messages=True)
        sub.subscribe("news")
        sub.get_message(timeout=2)
        check("PUBLISH", c.publish("news", "hello"), 1)
        for _ in range(20):
            m = sub.get_message(timeout=0.5)
            if m:
                got.append(m["data"])
                break
        check("a message", got, ["hello"])
        threads = [threading.Thread(target=lambda: [c.incr("together") for _ in range(100)]) for _ in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        check("threads", c.get("together"), "800")
print(f"redis-py {redis.__version__}, {face}: passed")
