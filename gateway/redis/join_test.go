package redis

import (
	"testing"

	"github.com/sidewire/sidewire/protocols/redis"
)

// Whatever frames servers answer with, joining them neither panics nor makes something that is no frame.
func FuzzJoins(f *testing.F) {
	for _, seed := range [][2]string{
		{"*2\r\n$1\r\na\r\n$-1\r\n", "*1\r\n$1\r\nb\r\n"}, {":3\r\n", ":4\r\n"}, {"+OK\r\n", "-ERR no\r\n"}, {"*2\r\n:1\r\n:0\r\n", "*2\r\n:1\r\n:1\r\n"},
		{"*2\r\n$1\r\n0\r\n*0\r\n", "*2\r\n$1\r\n7\r\n*1\r\n$1\r\nk\r\n"}, {"*-1\r\n", "_\r\n"}, {"%1\r\n+a\r\n*0\r\n", "~1\r\n:1\r\n"},
		{"*4\r\n$14\r\nrunning_script\r\n*2\r\n+a\r\n+b\r\n$7\r\nengines\r\n*0\r\n", "*0\r\n"}, {"$0\r\n\r\n", "$-1\r\n"}, {":\r\n", "*1\r\n:\r\n"},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]), uint8(2))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, count uint8) {
		for _, reply := range [][]byte{a, b} {
			var framer redis.Framer
			if n, err := framer.Next(reply); err != nil || n != len(reply) || n == 0 {
				t.Skip("no reply gets here that is not one frame")
			}
		}
		w := newWorld(t, 1, 2, modeHashed)
		s := w.client().session
		for i, join := range []func(*op, []byte) []byte{joinKeys, joinSum, joinOK, joinMin, joinOne, joinAnd, joinConcat, joinAnyKey, joinRunning, joinScan, joinExec, joinInfo} {
			o := &op{session: s, parts: []part{{reply: a, count: int(count)}, {reply: b, count: 1}}, watched: count%2 == 0}
			for range count {
				o.order = append(o.order, 0)
			}
			o.order = append(o.order, 1)
			joined := join(o, nil)
			var framer redis.Framer
			if n, err := framer.Next(joined); err != nil || n != len(joined) {
				t.Fatalf("join %d of %q and %q is %q: %d bytes framed, %v", i, a, b, joined, n, err)
			}
		}
	})
}

// What INFO tells of databases, commands and errors is everybody's: each server knows of its own only.
func TestInfoAddsUp(t *testing.T) {
	w := newWorld(t, 1, 2, modeHashed)
	c := w.client()
	w.up.held = []*session{c.session}
	o := &op{session: c.session, parts: []part{{reply: redis.AppendBulk(nil, "# Clients\r\nblocked_clients:1\r\n\r\n# Commandstats\r\n"+
		"cmdstat_get:calls=2,usec=10,usec_per_call=5.00,rejected_calls=0,failed_calls=1\r\n\r\n# Errorstats\r\nerrorstat_ERR:count=1\r\n\r\n"+
		"# Latencystats\r\nlatency_percentiles_usec_get:p50=0.001,p99=3.007\r\n\r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=7\r\n")},
		{reply: redis.AppendBulk(nil, "# Clients\r\nblocked_clients:2\r\n\r\n# Commandstats\r\ncmdstat_get:calls=1,usec=5,usec_per_call=5.00,rejected_calls=2,failed_calls=0\r\n"+
			"cmdstat_client|list:calls=1,usec=3,usec_per_call=3.00,rejected_calls=0,failed_calls=0\r\n\r\n# Errorstats\r\nerrorstat_WRONGTYPE:count=4\r\n\r\n"+
			"# Latencystats\r\nlatency_percentiles_usec_get:p50=0.002,p99=1.003\r\n\r\n# Keyspace\r\ndb0:keys=4,expires=0,avg_ttl=0\r\n")}}}
	want := "# Clients\r\nblocked_clients:4\r\n\r\n# Commandstats\r\ncmdstat_client|list:calls=1,usec=3,usec_per_call=3.00,rejected_calls=0,failed_calls=0\r\n" +
		"cmdstat_get:calls=3,usec=15,usec_per_call=5.00,rejected_calls=2,failed_calls=1\r\n\r\n# Errorstats\r\nerrorstat_ERR:count=1\r\nerrorstat_WRONGTYPE:count=4\r\n\r\n" +
		"# Latencystats\r\nlatency_percentiles_usec_get:p50=0.002,p99=3.007\r\n\r\n# Keyspace\r\ndb0:keys=7,expires=1,avg_ttl=7\r\n"
	if got := body(joinInfo(o, nil)); got != want {
		t.Errorf("INFO is\n%s\nwant\n%s", got, want)
	}
}

func FuzzReplication(f *testing.F) {
	f.Add([]byte("$60\r\nrole:master\r\nmaster_replid:abc\r\nmaster_repl_offset:100\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, _, ok := replication(b, "master_repl_offset"); ok && len(id) == 0 {
			t.Error("an offset of nothing")
		}
	})
}
