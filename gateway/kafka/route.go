package kafka

import (
	"github.com/sidewire/sidewire/protocols/kafka"
)

// offer says which APIs clients of this session are told of.
func (s *session) offer(key int16, api kafka.API) (int16, bool) {
	block := s.door.block()
	if block.Virtual != nil && !kafka.HasNames(key) || !block.allowedAPI(s.userName(), key) && key != kafka.ApiVersions {
		return 0, false
	}
	switch key {
	case kafka.ApiVersions:
		return s.maxApiVersions(), true
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

// maxApiVersions is the highest version of ApiVersions that is taken. From version 5 on a client says which node it means to
// reach, which the broker would compare with its own id.
func (s *session) maxApiVersions() int16 {
	api, _ := kafka.Lookup(kafka.ApiVersions)
	if s.view.base != 0 {
		return 4
	}
	return api.Max
}
