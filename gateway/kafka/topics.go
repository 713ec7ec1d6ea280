package kafka

import (
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/protocols/kafka"
)

// topics holds one listener's figures by topic and by group. They are read off the batch headers that pass: records are
// counted, not decompressed.
type topics struct {
	registry *telemetry.Registry
	listener string
	limit    int // topics, and pairs of group and topic, that get series of their own

	mu     sync.RWMutex // guards what follows
	byName map[string]*topic
	byID   map[[16]byte]*topic
	lags   int
}

type topic struct {
	name         string
	in, out      traffic
	mu           sync.Mutex // guards what follows
	high         map[int32]int64
	committed    map[string]map[int32]int64 // by group and partition
	errorsByCode map[topicError]*telemetry.Counter
}

type traffic struct{ bytes, records *telemetry.Counter }

type topicError struct {
	key  int16
	code int16
}

// otherTopics is the name under which topics above the limit, and ids nobody has named yet, are counted together.
const otherTopics = "(other)"

func newTopics(r *telemetry.Registry, listener string, limit int) *topics {
	return &topics{registry: r, listener: listener, limit: limit, byName: map[string]*topic{}, byID: map[[16]byte]*topic{}}
}

// named finds a topic by name; the name may lie in a frame.
func (t *topics) named(name []byte) *topic {
	t.mu.RLock()
	found := t.byName[string(name)]
	t.mu.RUnlock()
	if found != nil {
		return found
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.make(string(name))
}

func (t *topics) make(name string) *topic {
	if found := t.byName[name]; found != nil {
		return found
	}
	if len(t.byName) >= t.limit && name != otherTopics {
		return t.make(otherTopics)
	}
	counters := func(direction string) traffic {
		labels := []string{"listener", t.listener, "topic", name, "direction", direction}
		return traffic{
			bytes:   t.registry.Counter("sidewire_kafka_topic_bytes_total", "Bytes of record batches, as they are on the wire, by topic.", labels...),
			records: t.registry.Counter("sidewire_kafka_topic_records_total", "Records by topic, from the headers of their batches.", labels...),
		}
	}
	made := &topic{name: name, in: counters("produce"), out: counters("fetch"), high: map[int32]int64{},
		committed: map[string]map[int32]int64{}, errorsByCode: map[topicError]*telemetry.Counter{}}
	t.byName[name] = made
	return made
}

// identified finds a topic by id; nil when no metadata named it yet.
func (t *topics) identified(id []byte) *topic {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[[16]byte(id)]
}

// learn takes names and ids from metadata on its way to a client.
func (t *topics) learn(m *kmsg.MetadataResponse) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range m.Topics {
		mt := &m.Topics[i]
		if mt.Topic == nil || mt.TopicID == ([16]byte{}) || mt.ErrorCode != 0 {
			continue
		}
		if len(t.byID) >= maxIdentities {
			clear(t.byID)
		}
		if found := t.byID[mt.TopicID]; found == nil || found.name != *mt.Topic {
			t.byID[mt.TopicID] = t.make(*mt.Topic)
		}
	}
}

func (t *topics) failed(tp *topic, key, code int16) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	c := tp.errorsByCode[topicError{key, code}]
	if c == nil {
		c = t.registry.Counter("sidewire_kafka_topic_errors_total", "Errors of single partitions in Produce and Fetch responses.",
			"listener", t.listener, "topic", tp.name, "api", kafka.Name(key), "code", strconv.Itoa(int(code)))
		tp.errorsByCode[topicError{key, code}] = c
	}
	c.Inc()
}

// commit notes an offset that the broker accepted; a group's lag on the topic is shown from then on.
func (t *topics) commit(group string, tp *topic, partition int32, offset int64) {
	tp.mu.Lock()
	offsets := tp.committed[group]
	fresh := offsets == nil
	if !fresh {
		offsets[partition] = offset
	}
	tp.mu.Unlock()
	if !fresh {
		return
	}
	t.mu.Lock()
	room := t.lags < t.limit
	if room {
		t.lags++
	}
	t.mu.Unlock()
	if !room {
		return
	}
	tp.mu.Lock()
	if tp.committed[group] == nil {
		tp.committed[group] = map[int32]int64{}
	}
	tp.committed[group][partition] = offset
	tp.mu.Unlock()
	t.registry.GaugeFunc("sidewire_kafka_group_lag_records", "High watermark less committed offset over the partitions that passed here, by group and topic.",
		func() float64 { return float64(tp.lag(group)) }, "listener", t.listener, "group", group, "topic", tp.name)
}

func (tp *topic) lag(group string) (sum int64) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	for partition, offset := range tp.committed[group] {
		if high, ok := tp.high[partition]; ok {
			sum += max(high-offset, 0)
		}
	}
	return sum
}

// tally counts one direction of one session. It implements kafka.Visitor.
type tally struct {
	topics *topics
	key    int16
	sent   bool // records travel to the client
	now    *topic
}

func (v *tally) Topic(name, id []byte) error {
	if id == nil {
		v.now = v.topics.named(name)
	} else if v.now = v.topics.identified(id); v.now == nil {
		v.now = v.topics.named([]byte(otherTopics))
	}
	return nil
}

func (v *tally) Partition(p *kafka.Partition) {
	if p.Error != 0 {
		v.topics.failed(v.now, v.key, p.Error)
	}
	if p.RecordBytes > 0 {
		t := &v.now.in
		if v.sent {
			t = &v.now.out
		}
		t.bytes.Add(p.RecordBytes)
		t.records.Add(p.Records)
	}
	if v.key == kafka.Fetch && v.sent && p.HighWatermark >= 0 && p.Error == 0 {
		v.now.mu.Lock()
		v.now.high[p.Index] = p.HighWatermark
		v.now.mu.Unlock()
	}
}

// commit is an OffsetCommit under way.
type commit struct {
	correlation int32
	group       string
	offsets     map[commitPartition]int64
}

type commitPartition struct {
	name      string
	id        [16]byte
	partition int32
}

// maxCommits bounds what one session keeps of commits whose responses are not there yet.
const maxCommits = 64

// noteCommit reads an OffsetCommit request on its way; its offsets count once the broker accepted them.
func (s *session) noteCommit(correlation int32, version int16, body []byte) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version = version
	if kafka.DecodeRequest(req, body) != nil {
		return // the broker says what is wrong with it
	}
	c := commit{correlation: correlation, group: req.Group, offsets: map[commitPartition]int64{}}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			c.offsets[commitPartition{t.Topic, t.TopicID, p.Partition}] = p.Offset
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.commits) < maxCommits {
		s.commits = append(s.commits, c)
	}
}

func (s *session) takeCommit(correlation int32) (commit, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range s.commits {
		if c.correlation == correlation {
			s.commits = append(s.commits[:i], s.commits[i+1:]...)
			return c, true
		}
	}
	return commit{}, false
}

// committed reads the response to an OffsetCommit.
func (s *session) committed(e *kafka.Inflight, body []byte) {
	c, ok := s.takeCommit(e.CorrelationID)
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Version = e.Version
	if !ok || kafka.DecodeResponse(resp, body) != nil {
		return
	}
	t := s.door.topics
	for _, rt := range resp.Topics {
		var tp *topic
		if rt.Topic != "" {
			tp = t.named([]byte(rt.Topic))
		} else if tp = t.identified(rt.TopicID[:]); tp == nil {
			continue
		}
		for _, p := range rt.Partitions {
			if offset, ok := c.offsets[commitPartition{rt.Topic, rt.TopicID, p.Partition}]; ok && p.ErrorCode == 0 {
				t.commit(c.group, tp, p.Partition, offset)
			}
		}
	}
}
