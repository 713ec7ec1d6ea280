package kafka

// API keys that sidewire names in code; the table below knows all of them.
const (
	Produce                    int16 = 0
	Fetch                      int16 = 1
	ListOffsets                int16 = 2
	Metadata                   int16 = 3
	OffsetCommit               int16 = 8
	OffsetFetch                int16 = 9
	FindCoordinator            int16 = 10
	JoinGroup                  int16 = 11
	Heartbeat                  int16 = 12
	LeaveGroup                 int16 = 13
	SyncGroup                  int16 = 14
	DescribeGroups             int16 = 15
	ListGroups                 int16 = 16
	SASLHandshake              int16 = 17
	ApiVersions                int16 = 18
	CreateTopics               int16 = 19
	DeleteTopics               int16 = 20
	DeleteRecords              int16 = 21
	InitProducerID             int16 = 22
	OffsetForLeaderEpoch       int16 = 23
	AddPartitionsToTxn         int16 = 24
	AddOffsetsToTxn            int16 = 25
	EndTxn                     int16 = 26
	TxnOffsetCommit            int16 = 28
	DescribeACLs               int16 = 29
	CreateACLs                 int16 = 30
	DeleteACLs                 int16 = 31
	DescribeConfigs            int16 = 32
	AlterConfigs               int16 = 33
	AlterReplicaLogDirs        int16 = 34
	DescribeLogDirs            int16 = 35
	SASLAuthenticate           int16 = 36
	CreatePartitions           int16 = 37
	CreateDelegationToken      int16 = 38
	RenewDelegationToken       int16 = 39
	ExpireDelegationToken      int16 = 40
	DescribeDelegation         int16 = 41
	DeleteGroups               int16 = 42
	ElectLeaders               int16 = 43
	IncrementalAlterConfigs    int16 = 44
	AlterPartitionAssignments  int16 = 45
	ListPartitionReassignments int16 = 46
	OffsetDelete               int16 = 47
	DescribeUserSCRAM          int16 = 50
	AlterUserSCRAM             int16 = 51
	DescribeQuorum             int16 = 55
	DescribeCluster            int16 = 60
	DescribeProducers          int16 = 61
	DescribeTransactions       int16 = 65
	ListTransactions           int16 = 66
	ConsumerGroupHeartbeat     int16 = 68
	ConsumerGroupDescribe      int16 = 69
	ListConfigResources        int16 = 74
	DescribeTopicParts         int16 = 75
	ShareGroupHeartbeat        int16 = 76
	ShareGroupDescribe         int16 = 77
	ShareFetch                 int16 = 78
	ShareAcknowledge           int16 = 79
	StreamsGroupHeartbeat      int16 = 88
	StreamsGroupDescribe       int16 = 89
	DescribeShareGroupOffsets  int16 = 90
	AlterShareGroupOffsets     int16 = 91
	DeleteShareGroupOffsets    int16 = 92
	StreamsGroupTopology       int16 = 93
)

// noFlexible marks an API none of whose versions is flexible (KIP-482).
const noFlexible = 1 << 14

// API is what the proxy must know of one Kafka API to frame it and to decide whether it may be used through a proxy.
type API struct {
	Name     string
	Max      int16 // highest version sidewire understands; ApiVersions never advertises more
	Flexible int16 // first flexible version: request header v2, response header v1
	// BrokerOnly APIs are spoken between brokers and controllers. They carry addresses that mean nothing to a client
	// and need cluster authority, so a client behind the proxy is never offered them.
	BrokerOnly bool
}

// apis is indexed by API key. It is generated from kmsg and TestTableMatchesKmsg fails when the two part: raising
// kmsg's version therefore never silently raises what is advertised to clients.
var apis = [...]API{
	0:  {Name: "Produce", Max: 13, Flexible: 9},
	1:  {Name: "Fetch", Max: 18, Flexible: 12},
	2:  {Name: "ListOffsets", Max: 11, Flexible: 6},
	3:  {Name: "Metadata", Max: 13, Flexible: 9},
	4:  {Name: "LeaderAndISR", Max: 7, Flexible: 4, BrokerOnly: true},
	5:  {Name: "StopReplica", Max: 4, Flexible: 2, BrokerOnly: true},
	6:  {Name: "UpdateMetadata", Max: 8, Flexible: 6, BrokerOnly: true},
	7:  {Name: "ControlledShutdown", Max: 3, Flexible: 3, BrokerOnly: true},
	8:  {Name: "OffsetCommit", Max: 10, Flexible: 8},
	9:  {Name: "OffsetFetch", Max: 10, Flexible: 6},
	10: {Name: "FindCoordinator", Max: 6, Flexible: 3},
	11: {Name: "JoinGroup", Max: 9, Flexible: 6},
	12: {Name: "Heartbeat", Max: 4, Flexible: 4},
	13: {Name: "LeaveGroup", Max: 5, Flexible: 4},
	14: {Name: "SyncGroup", Max: 5, Flexible: 4},
	15: {Name: "DescribeGroups", Max: 6, Flexible: 5},
	16: {Name: "ListGroups", Max: 5, Flexible: 3},
	17: {Name: "SASLHandshake", Max: 1, Flexible: noFlexible},
	18: {Name: "ApiVersions", Max: 5, Flexible: 3},
	19: {Name: "CreateTopics", Max: 7, Flexible: 5},
	20: {Name: "DeleteTopics", Max: 6, Flexible: 4},
	21: {Name: "DeleteRecords", Max: 2, Flexible: 2},
	22: {Name: "InitProducerID", Max: 5, Flexible: 2},
	23: {Name: "OffsetForLeaderEpoch", Max: 4, Flexible: 4},
	24: {Name: "AddPartitionsToTxn", Max: 5, Flexible: 3},
	25: {Name: "AddOffsetsToTxn", Max: 4, Flexible: 3},
	26: {Name: "EndTxn", Max: 5, Flexible: 3},
	27: {Name: "WriteTxnMarkers", Max: 2, Flexible: 1, BrokerOnly: true},
	28: {Name: "TxnOffsetCommit", Max: 6, Flexible: 3},
	29: {Name: "DescribeACLs", Max: 3, Flexible: 2},
	30: {Name: "CreateACLs", Max: 3, Flexible: 2},
	31: {Name: "DeleteACLs", Max: 3, Flexible: 2},
	32: {Name: "DescribeConfigs", Max: 4, Flexible: 4},
	33: {Name: "AlterConfigs", Max: 2, Flexible: 2},
	34: {Name: "AlterReplicaLogDirs", Max: 2, Flexible: 2},
	35: {Name: "DescribeLogDirs", Max: 5, Flexible: 2},
	36: {Name: "SASLAuthenticate", Max: 2, Flexible: 2},
	37: {Name: "CreatePartitions", Max: 3, Flexible: 2},
	38: {Name: "CreateDelegationToken", Max: 3, Flexible: 2},
	39: {Name: "RenewDelegationToken", Max: 2, Flexible: 2},
	40: {Name: "ExpireDelegationToken", Max: 2, Flexible: 2},
	41: {Name: "DescribeDelegationToken", Max: 3, Flexible: 2},
	42: {Name: "DeleteGroups", Max: 3, Flexible: 2},
	43: {Name: "ElectLeaders", Max: 2, Flexible: 2},
	44: {Name: "IncrementalAlterConfigs", Max: 1, Flexible: 1},
	45: {Name: "AlterPartitionAssignments", Max: 1, Flexible: 0},
	46: {Name: "ListPartitionReassignments", Max: 0, Flexible: 0},
	47: {Name: "OffsetDelete", Max: 0, Flexible: noFlexible},
	48: {Name: "DescribeClientQuotas", Max: 1, Flexible: 1},
	49: {Name: "AlterClientQuotas", Max: 1, Flexible: 1},
	50: {Name: "DescribeUserSCRAMCredentials", Max: 0, Flexible: 0},
	51: {Name: "AlterUserSCRAMCredentials", Max: 0, Flexible: 0},
	52: {Name: "Vote", Max: 2, Flexible: 0, BrokerOnly: true},
	53: {Name: "BeginQuorumEpoch", Max: 1, Flexible: 1, BrokerOnly: true},
	54: {Name: "EndQuorumEpoch", Max: 1, Flexible: 1, BrokerOnly: true},
	55: {Name: "DescribeQuorum", Max: 2, Flexible: 0},
	56: {Name: "AlterPartition", Max: 3, Flexible: 0, BrokerOnly: true},
	57: {Name: "UpdateFeatures", Max: 2, Flexible: 0},
	58: {Name: "Envelope", Max: 0, Flexible: 0, BrokerOnly: true},
	59: {Name: "FetchSnapshot", Max: 1, Flexible: 0, BrokerOnly: true},
	60: {Name: "DescribeCluster", Max: 2, Flexible: 0},
	61: {Name: "DescribeProducers", Max: 0, Flexible: 0},
	62: {Name: "BrokerRegistration", Max: 4, Flexible: 0, BrokerOnly: true},
	63: {Name: "BrokerHeartbeat", Max: 2, Flexible: 0, BrokerOnly: true},
	64: {Name: "UnregisterBroker", Max: 0, Flexible: 0},
	65: {Name: "DescribeTransactions", Max: 0, Flexible: 0},
	66: {Name: "ListTransactions", Max: 2, Flexible: 0},
	67: {Name: "AllocateProducerIDs", Max: 0, Flexible: 0, BrokerOnly: true},
	68: {Name: "ConsumerGroupHeartbeat", Max: 1, Flexible: 0},
	69: {Name: "ConsumerGroupDescribe", Max: 1, Flexible: 0},
	70: {Name: "ControllerRegistration", Max: 0, Flexible: 0, BrokerOnly: true},
	71: {Name: "GetTelemetrySubscriptions", Max: 0, Flexible: 0},
	72: {Name: "PushTelemetry", Max: 0, Flexible: 0},
	73: {Name: "AssignReplicasToDirs", Max: 0, Flexible: 0, BrokerOnly: true},
	74: {Name: "ListConfigResources", Max: 1, Flexible: 0},
	75: {Name: "DescribeTopicPartitions", Max: 0, Flexible: 0},
	76: {Name: "ShareGroupHeartbeat", Max: 1, Flexible: 0},
	77: {Name: "ShareGroupDescribe", Max: 1, Flexible: 0},
	78: {Name: "ShareFetch", Max: 2, Flexible: 0},
	79: {Name: "ShareAcknowledge", Max: 2, Flexible: 0},
	80: {Name: "AddRaftVoter", Max: 1, Flexible: 0, BrokerOnly: true},
	81: {Name: "RemoveRaftVoter", Max: 0, Flexible: 0},
	82: {Name: "UpdateRaftVoter", Max: 0, Flexible: 0, BrokerOnly: true},
	83: {Name: "InitializeShareGroupState", Max: 0, Flexible: 0, BrokerOnly: true},
	84: {Name: "ReadShareGroupState", Max: 0, Flexible: 0, BrokerOnly: true},
	85: {Name: "WriteShareGroupState", Max: 1, Flexible: 0, BrokerOnly: true},
	86: {Name: "DeleteShareGroupState", Max: 0, Flexible: 0, BrokerOnly: true},
	87: {Name: "ReadShareGroupStateSummary", Max: 1, Flexible: 0, BrokerOnly: true},
	88: {Name: "StreamsGroupHeartbeat", Max: 1, Flexible: 0},
	89: {Name: "StreamsGroupDescribe", Max: 1, Flexible: 0},
	90: {Name: "DescribeShareGroupOffsets", Max: 1, Flexible: 0},
	91: {Name: "AlterShareGroupOffsets", Max: 0, Flexible: 0},
	92: {Name: "DeleteShareGroupOffsets", Max: 0, Flexible: 0},
	93: {Name: "StreamsGroupTopologyDescriptionUpdate", Max: 0, Flexible: 0},
	94: {Name: "UnregisterController", Max: 0, Flexible: 0},
}

// Lookup returns the API of a key; ok is false for a key sidewire does not know.
func Lookup(key int16) (api API, ok bool) {
	if key < 0 || int(key) >= len(apis) {
		return API{}, false
	}
	return apis[key], true
}

// Keys is the number of API keys in the table: keys run from 0 to Keys-1.
const Keys = len(apis)

// Name returns the API's name, or "unknown" for a key outside the table.
func Name(key int16) string {
	if key < 0 || int(key) >= len(apis) {
		return "unknown"
	}
	return apis[key].Name
}

// Known reports whether the key at this version is one sidewire can frame and, where needed, decode.
func Known(key, version int16) bool {
	return key >= 0 && int(key) < len(apis) && version >= 0 && version <= apis[key].Max
}

// IsFlexible reports whether a version of an API uses compact lengths and tagged fields in its body.
func IsFlexible(key, version int16) bool {
	return key >= 0 && int(key) < len(apis) && version >= apis[key].Flexible
}

// RequestHeaderVersion returns 0, 1 or 2. ControlledShutdown v0 alone has no client id (header v0).
func RequestHeaderVersion(key, version int16) int {
	switch {
	case key == 7 && version == 0:
		return 0
	case IsFlexible(key, version):
		return 2
	}
	return 1
}

// ResponseHeaderVersion returns 0 or 1. ApiVersions answers with header v0 at every version, because a client that
// has not yet learnt what the broker speaks must be able to read it (KIP-511).
func ResponseHeaderVersion(key, version int16) int {
	if key != ApiVersions && IsFlexible(key, version) {
		return 1
	}
	return 0
}
