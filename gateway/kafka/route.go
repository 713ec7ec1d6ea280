package kafka

import (
	"github.com/sidewire/sidewire/protocols/kafka"
)

// offer says which APIs clients of this session are told of.
func (s *session) offer(key int16, api kafka.API) (int16, bool) {
	block := s.door.block()
	if block.Virtual != nil && !s.mapped(key) || !block.allowedAPI(s.userName(), key) && key != kafka.ApiVersions {
		return 0, false
	}
	switch key {
	case kafka.AddPartitionsToTxn:
		if block.Virtual != nil {
			return 3, true // above, it is a broker's
		}
	case kafka.CreateDelegationToken, kafka.RenewDelegationToken, kafka.ExpireDelegationToken, kafka.DescribeDelegation,
		kafka.DescribeUserSCRAM, kafka.AlterUserSCRAM:
		// They are about accounts at the brokers, which are not the ones clients have here.
		return api.Max, block.Authentication != authTerminate
	}
	return api.Max, true
}
