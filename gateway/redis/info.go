package redis

import (
	"bytes"
	"sort"
	"strconv"
	"strings"

	"github.com/sidewire/sidewire/protocols/redis"
	"github.com/sidewire/sidewire/sharding/hash"
)

// info serves INFO over several servers: every shard is asked, and what can be added up is.
func (s *session) info(c *redis.Command) bool {
	if !s.adopt() {
		return s.hold()
	}
	if s.view.upstream.shards() == 0 {
		return s.unreachable(-1, errNobody)
	}
	return s.broadcast(c, s.request.Raw(), joinInfo)
}

// summed are the numbers of INFO that mean something when added.
var summed = map[string]bool{
	"connected_clients": true, "blocked_clients": true, "used_memory": true, "used_memory_rss": true, "used_memory_dataset": true, "maxmemory": true,
	"total_connections_received": true, "total_commands_processed": true, "instantaneous_ops_per_sec": true, "total_net_input_bytes": true,
	"total_net_output_bytes": true, "rejected_connections": true, "expired_keys": true, "evicted_keys": true, "keyspace_hits": true,
	"keyspace_misses": true, "pubsub_channels": true, "pubsub_patterns": true, "total_error_replies": true, "connected_slaves": true,
	"tracking_clients": true, "watching_clients": true, "clients_in_timeout_table": true,
	"rdb_changes_since_last_save": true, "unexpected_error_replies": true, "total_reads_processed": true, "total_writes_processed": true,
}

func joinInfo(o *op, dst []byte) []byte {
	if dst, failed := o.failure(dst); failed {
		return dst
	}
	sums := map[string]int64{"blocked_clients": int64(len(o.session.view.upstream.held))} // by CLIENT PAUSE; the servers do not know of them
	var all records
	var first string
	for i := range o.parts {
		text := body(o.parts[i].reply)
		if i == 0 {
			first = text
		}
		for _, line := range strings.Split(text, "\r\n") {
			k, v, ok := strings.Cut(line, ":")
			switch {
			case !ok:
			case summed[k]:
				if n, err := strconv.ParseInt(v, 10, 64); err == nil {
					sums[k] += n
				}
			default:
				all.add(k, v)
			}
		}
	}
	var out strings.Builder
	for _, line := range strings.Split(strings.TrimSuffix(first, "\r\n"), "\r\n") {
		k, _, ok := strings.Cut(line, ":")
		switch {
		case ok && summed[k]:
			line = k + ":" + strconv.FormatInt(sums[k], 10)
		case k == "redis_mode":
			line = "redis_mode:standalone"
		case k == "cluster_enabled" && o.session.gate.face == faceStandalone:
			line = "cluster_enabled:0"
		case k == "role":
			line = "role:master"
		case all[k] != nil:
			continue
		}
		out.WriteString(line + "\r\n")
		all.write(&out, line)
	}
	kind := o.parts[0].reply[0]
	if kind != redis.TypeVerbatim {
		return redis.AppendBulk(dst, out.String())
	}
	dst = redis.AppendHeader(dst, kind, out.Len()+4)
	return append(append(append(dst, "txt:"...), out.String()...), "\r\n"...)
}

// records are INFO's lines of several numbers, of which a server has those for what it has seen: databases, commands, errors.
type records map[string]*record

type record struct {
	section string
	names   []string
	values  map[string]float64
}

// sections tells by the beginning of a record's key under which heading it stands.
var sections = map[string]string{"db": "# Keyspace", "cmdstat_": "# Commandstats", "errorstat_": "# Errorstats", "latency_percentiles_usec_": "# Latencystats"}

// add counts a server's record in: sums, but for the worst of what is none.
func (all *records) add(key, v string) {
	section := ""
	for prefix, heading := range sections {
		if strings.HasPrefix(key, prefix) && strings.Contains(v, "=") {
			section = heading
		}
	}
	if section == "" {
		return
	}
	if *all == nil {
		*all = records{}
	}
	r := (*all)[key]
	if r == nil {
		r = &record{section: section, values: map[string]float64{}}
		(*all)[key] = r
	}
	for _, f := range strings.Split(v, ",") {
		name, n, _ := strings.Cut(f, "=")
		x, _ := strconv.ParseFloat(n, 64)
		if _, known := r.values[name]; !known {
			r.names = append(r.names, name)
		}
		if name == "avg_ttl" || section == "# Latencystats" {
			x = max(x, r.values[name]) - r.values[name]
		}
		r.values[name] += x
	}
}

// write puts the records of a section behind its heading.
func (all records) write(out *strings.Builder, heading string) {
	var keys []string
	for k, r := range all {
		if r.section == heading {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		r, sep := all[k], ":"
		out.WriteString(k)
		for _, name := range r.names {
			x, digits := r.values[name], 0
			switch {
			case name == "usec_per_call":
				x, digits = r.values["usec"]/max(r.values["calls"], 1), 2
			case heading == "# Latencystats":
				digits = 3
			}
			out.WriteString(sep + name + "=" + strconv.FormatFloat(x, 'f', digits, 64))
			sep = ","
		}
		out.WriteString("\r\n")
	}
}

// body is the text of a bulk or verbatim string.
func body(f []byte) string {
	if len(f) == 0 || f[0] != redis.TypeBulk && f[0] != redis.TypeVerbatim {
		return ""
	}
	i := bytes.IndexByte(f, '\n')
	if i+1 > len(f)-2 {
		return "" // a null
	}
	t := f[i+1 : len(f)-2]
	if f[0] == redis.TypeVerbatim && len(t) >= 4 {
		t = t[4:]
	}
	return string(t)
}

// cluster serves CLUSTER over several servers. The true nodes are never shown: either there is no cluster, or the listener is one of a
// single node with every slot, so that clients that speak only to clusters can speak to it.
func (s *session) cluster(c *redis.Command) bool {
	r := &s.request
	if r.Len() < 2 {
		return s.wrongArity(c)
	}
	sub := strings.ToLower(clipped(r.Arg(1), 32))
	if sub == "keyslot" && r.Len() == 3 {
		return s.reply(func(b []byte) []byte { return redis.AppendInt(b, int64(hash.Slot(r.Arg(2)))) })
	}
	if s.gate.face != faceCluster {
		return s.refuse("ERR This instance has cluster support disabled")
	}
	host, port, _ := strings.Cut(s.gate.announce, ":")
	n, _ := strconv.Atoi(port)
	id := s.gate.nodeID()
	switch sub {
	case "slots":
		return s.reply(func(b []byte) []byte {
			b = append(b, "*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n"...)
			b = redis.AppendInt(redis.AppendBulk(b, host), int64(n))
			return redis.AppendHeader(redis.AppendBulk(b, id), redis.TypeArray, 0)
		})
	case "shards":
		return s.reply(func(b []byte) []byte { return s.clusterShards(b, host, n, id) })
	case "nodes":
		return s.reply(func(b []byte) []byte { return redis.AppendBulk(b, s.clusterLine(id)) })
	case "info":
		return s.reply(func(b []byte) []byte {
			return redis.AppendBulk(b, "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:1\r\ncluster_my_epoch:1\r\n")
		})
	case "myid":
		return s.reply(func(b []byte) []byte { return redis.AppendBulk(b, id) })
	case "replicas", "slaves":
		return s.answer("*0\r\n")
	case "countkeysinslot", "getkeysinslot":
		if s.view.upstream.mode == modeSlots && r.Len() > 2 {
			if slot, ok := redis.ParseInt(r.Arg(2)); ok && slot >= 0 && slot < hash.Slots {
				return s.forward(int(s.view.upstream.slots[slot]), c)
			}
		}
	}
	return s.refuse("ERR command 'cluster|" + sub + "' is not supported through a proxy")
}

func (s *session) clusterLine(id string) string {
	return id + " " + s.gate.announce + "@" + "0" + " myself,master - 0 0 1 connected 0-16383\n"
}

func (s *session) clusterShards(b []byte, host string, port int, id string) []byte {
	pairs := func(b []byte, n int) []byte {
		if s.resp3 {
			return redis.AppendHeader(b, redis.TypeMap, n)
		}
		return redis.AppendHeader(b, redis.TypeArray, 2*n)
	}
	b = pairs(append(b, "*1\r\n"...), 2)
	b = append(redis.AppendBulk(b, "slots"), "*2\r\n:0\r\n:16383\r\n"...)
	b = pairs(append(redis.AppendBulk(b, "nodes"), "*1\r\n"...), 7)
	b = redis.AppendBulk(redis.AppendBulk(b, "id"), id)
	b = redis.AppendInt(redis.AppendBulk(b, "port"), int64(port))
	b = redis.AppendBulk(redis.AppendBulk(b, "ip"), host)
	b = redis.AppendBulk(redis.AppendBulk(b, "endpoint"), host)
	b = redis.AppendBulk(redis.AppendBulk(b, "role"), "master")
	b = redis.AppendInt(redis.AppendBulk(b, "replication-offset"), 0)
	return redis.AppendBulk(redis.AppendBulk(b, "health"), "online")
}

// nodeID is forty hexadecimal digits, the same for the same listener.
func (g *gate) nodeID() string {
	const digits = "0123456789abcdef"
	id := make([]byte, 40)
	h := uint64(0xcbf29ce484222325)
	for i := range id {
		for j := range len(g.name) {
			h = (h ^ uint64(g.name[j])) * 0x100000001b3
		}
		h = (h ^ uint64(i)) * 0x100000001b3
		id[i] = digits[h>>40&15]
	}
	return string(id)
}
