package kafka

import (
	"github.com/sidewire/sidewire/protocols/kafka"
)

// offer says which APIs clients of this session are told of.
func (s *session) offer(key int16, api kafka.API) (int16, bool) {
	switch key {
	case kafka.CreateDelegationToken, kafka.RenewDelegationToken, kafka.ExpireDelegationToken, kafka.DescribeDelegation,
		kafka.DescribeUserSCRAM, kafka.AlterUserSCRAM:
		// They are about accounts at the brokers, which are not the ones clients have here.
		return api.Max, s.door.block().Authentication != authTerminate
	}
	return api.Max, true
}
