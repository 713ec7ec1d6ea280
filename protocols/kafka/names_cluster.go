package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// mapClusterRequest is about where replicas are and who leads. That is a cluster's, so that whoever sees a part of one has no map of it;
// for others topics are topics, and naming none of them means all.
func mapClusterRequest(req kmsg.Request, m *mapper) (known bool) {
	if !m.Shared() {
		return false
	}
	switch r := req.(type) {
	case *kmsg.ElectLeadersRequest:
		m.refused = m.refused || r.Topics == nil && !m.AllTopics()
		keep(&r.Topics, func(t *kmsg.ElectLeadersRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.AlterPartitionAssignmentsRequest:
		keep(&r.Topics, func(t *kmsg.AlterPartitionAssignmentsRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.AlterReplicaLogDirsRequest:
		for i := range r.Dirs {
			keep(&r.Dirs[i].Topics, func(t *kmsg.AlterReplicaLogDirsRequestDirTopic) bool { return m.topic(&t.Topic) })
		}
	// A broker leaves out of these lists what there is nothing to say of, and so is left out what may not be named.
	case *kmsg.ListPartitionReassignmentsRequest:
		keep(&r.Topics, func(t *kmsg.ListPartitionReassignmentsRequestTopic) bool { return m.mayName(t.Topic) })
	case *kmsg.DescribeLogDirsRequest:
		keep(&r.Topics, func(t *kmsg.DescribeLogDirsRequestTopic) bool { return m.mayName(t.Topic) })
	default:
		return false
	}
	return true
}

func (m *mapper) mayName(topic string) bool {
	_, ok := m.Topic(topic)
	return ok
}

// splitCluster takes topics out of what moves replicas and leaders.
func (s *splitter) splitCluster(req kmsg.Request) (left int) {
	switch r := req.(type) {
	case *kmsg.ElectLeadersRequest:
		if r.Topics == nil {
			return 1 // all of them
		}
		return part(s, &r.Topics, func(t *kmsg.ElectLeadersRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.ElectLeadersRequestTopic) kmsg.Request {
				return &kmsg.ElectLeadersRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.AlterPartitionAssignmentsRequest:
		return part(s, &r.Topics, func(t *kmsg.AlterPartitionAssignmentsRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.AlterPartitionAssignmentsRequestTopic) kmsg.Request {
				return &kmsg.AlterPartitionAssignmentsRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.AlterReplicaLogDirsRequest:
		kept := r.Dirs[:0:0]
		for _, d := range r.Dirs {
			n := part(s, &d.Topics, func(t *kmsg.AlterReplicaLogDirsRequestDirTopic) int16 { return s.named(t.Topic) },
				func(ts []kmsg.AlterReplicaLogDirsRequestDirTopic) kmsg.Request {
					return &kmsg.AlterReplicaLogDirsRequest{Version: r.Version, Dirs: []kmsg.AlterReplicaLogDirsRequestDir{{Dir: d.Dir, Topics: ts}}}
				})
			if left += n; n > 0 {
				kept = append(kept, d)
			}
		}
		r.Dirs = kept
	}
	return left
}

// refuseCluster refuses them.
func refuseCluster(req kmsg.Request, resp kmsg.Response, code int16) bool {
	switch r := req.(type) {
	case *kmsg.ElectLeadersRequest:
		out := resp.(*kmsg.ElectLeadersResponse)
		out.ErrorCode = code
		for _, t := range r.Topics {
			rt := kmsg.NewElectLeadersResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewElectLeadersResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.AlterPartitionAssignmentsRequest:
		out := resp.(*kmsg.AlterPartitionAssignmentsResponse)
		out.ErrorCode = code
		for _, t := range r.Topics {
			rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.AlterReplicaLogDirsRequest:
		out := resp.(*kmsg.AlterReplicaLogDirsResponse)
		for _, d := range r.Dirs {
			for _, t := range d.Topics {
				rt := kmsg.NewAlterReplicaLogDirsResponseTopic()
				rt.Topic = t.Topic
				for _, p := range t.Partitions {
					rp := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
					rp.Partition, rp.ErrorCode = p, code
					rt.Partitions = append(rt.Partitions, rp)
				}
				out.Topics = append(out.Topics, rt)
			}
		}
	case *kmsg.DescribeLogDirsRequest:
		out := resp.(*kmsg.DescribeLogDirsResponse)
		if out.ErrorCode = code; r.Version < 3 { // it has no error of the whole
			dir := kmsg.NewDescribeLogDirsResponseDir()
			dir.ErrorCode = code
			out.Dirs = append(out.Dirs, dir)
		}
	default:
		return false
	}
	return true
}
