package kafka_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// traps is what Kafka proxies fall into, each with the tests that show that this one does not. Comments elsewhere name them by
// their numbers.
var traps = []struct {
	number int
	what   string
	tests  []string
}{
	{1, "responses leave in the order of requests", []string{"TestPipelinedAnswersKeepTheirOrder"}},
	{2, "the broker's end is seen while nothing is asked", []string{"TestIdleClientLearnsOfItsBrokersEnd"}},
	{3, "acks 0 is never answered", []string{"TestAcksBehindEveryHeader", "TestAcksZeroLeavesNoGap"}},
	{4, "exceptions among flexible headers", []string{"TestHeaderVersionExceptions"}},
	{5, "ApiVersions of the future", []string{"TestApiVersionsIntersection", "TestApiVersionsRefusalIsVersionZero", "TestPipelinedAnswersKeepTheirOrder"}},
	{6, "unknown keys and versions", []string{"TestForeignAndHostileBytes"}},
	{7, "Produce's lowest version", []string{"TestApiVersionsIntersection", "TestApacheKafka"}},
	{8, "lengths that lie, other protocols", []string{"TestForeignBytes", "TestForeignAndHostileBytes", "TestClaimsTakeNoMemory"}},
	{9, "node endpoints in Produce and Fetch", []string{"TestNodeEndpointsPatchedInPlace", "TestNoHostFieldIsForgotten", "TestNoUpstreamAddressReachesClients"}},
	{10, "SASL tokens without frames", []string{"TestSASLVersionZeroPassesThrough"}},
	{11, "authentication again on a live connection", []string{"TestSASLSessionsAreRenewed"}},
	{12, "SCRAM cannot be replayed", []string{"TestSASLPassesThrough", "TestSASLTerminated"}},
	{13, "topic ids of others", []string{"TestVirtualClustersAreApart", "TestForeignTopicIDsAreUnknown"}},
	{14, "names inside opaque bytes of groups", []string{"TestNamesInsideMemberBytes"}},
	{15, "regular expressions, cursors", []string{"TestPatternsStayInsideThePrefix", "TestNewKindsOfGroups"}},
	{16, "listings show others", []string{"TestEveryNameIsMapped", "TestForeignNamesAreTakenOut", "TestVirtualClustersAreApart"}},
	{17, "fetch sessions belong to a broker", []string{"TestFetchSessionsAndLongPolls"}},
	{18, "long polls", []string{"TestFetchSessionsAndLongPolls"}},
	// Several clusters behind one listener are refused; node ids are virtual from the start.
	{19, "node ids of several clusters", []string{"TestEveryNodeIDIsMapped", "TestEveryNodeIDInRequestsIsMapped", "TestVirtualNodeIDsEndToEnd", "TestSeveralClustersAreRefused"}},
	{20, "metadata of several clusters", []string{"TestSeveralClustersAreRefused"}},
	{21, "groups over several clusters", []string{"TestSeveralClustersAreRefused"}},
	{22, "transactions over several clusters", []string{"TestSeveralClustersAreRefused"}},
	{23, "idempotent producers over several clusters", []string{"TestSeveralClustersAreRefused"}},
	{24, "failover between clusters", []string{"TestSeveralClustersAreRefused"}},
	{25, "brokers that advertise the proxy", []string{"TestAdvertisedLoopIsRefused", "TestEndpointThatIsTheListenerIsRefused"}},
	{26, "brokers come and go", []string{"TestAddressesFollowTheCluster", "TestPortInUseIsPassedOver", "TestDrainOfOneBrokerIsItsOwn", "TestGoneBrokersStayGone"}},
	{27, "a loopback address a broker", []string{"TestNoUpstreamAddressReachesClients"}},
	{28, "quotas", []string{"TestQuotasThrottle"}},
	{29, "shared knowledge is no right", []string{"TestWhatOneTenantTaughtServesNoOther"}},
	{30, "requests before the connection, half-closed clients", []string{"TestPipelinedAnswersKeepTheirOrder", "TestHalfClosedClientIsAnswered"}},
	{31, "each address is its own broker", []string{"TestEachAddressIsItsBroker"}},
	{32, "endpoints of share groups", []string{"TestNewKindsOfGroups", "TestNoHostFieldIsForgotten"}},
	{33, "clients' telemetry", []string{"TestClientTelemetryPasses", "TestApacheKafka"}},
	{34, "message sets of before record batches", []string{"TestOldMessageSetsPassUncounted"}},
}

func TestEveryTrapHasItsTest(t *testing.T) {
	exists := map[string]bool{}
	for _, dir := range []string{".", "../../protocols/kafka", "../../gateway/kafka"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
				exists[string(m[1])] = true
			}
		}
	}
	for i, trap := range traps {
		if trap.number != i+1 || len(trap.tests) == 0 {
			t.Errorf("trap %d (%s): number %d, %d tests", i+1, trap.what, trap.number, len(trap.tests))
		}
		for _, name := range trap.tests {
			if !exists[name] {
				t.Errorf("trap %d (%s): there is no %s", trap.number, trap.what, name)
			}
		}
	}
}
