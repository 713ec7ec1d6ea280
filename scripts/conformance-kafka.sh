#!/usr/bin/env bash
# conformance-kafka: franz-go's own integration tests (kgo), directly and through sidewire, before Apache Kafka 4. The suite is fetched
# as a Go module; none of its files is kept. A test that passes directly and not through sidewire fails the run. KGO='^TestX' chooses a
# part; kafka-go's suite has a script of its own, Kafka's own tools, kcat and the chaos tests are in integration/kafka.
set -euo pipefail
. "$(dirname "$0")/suite.bash"
kgo=v1.22.2

fetch github.com/twmb/franz-go "$kgo" kgo
(cd "$work/kgo/pkg/kgo" && GOFLAGS=-mod=mod go test -c -o "$work/kgo.test" .)
echo "suite is built, Kafka starts"
servers kafka
broker=$(grep -o '127\.0\.0\.1:[0-9]*' "$work/servers.txt" | head -1)
first=$(python3 -c '
import random, socket
while True:
    base = random.randrange(33000, 60000, 20)
    try:
        for p in range(base, base + 12): s = socket.socket(); s.bind(("127.0.0.1", p)); s.close()
        print(base); break
    except OSError: pass')
cat >"$work/sidewire.yaml" <<YAML
admin: {address: ""}
listeners: [{name: events, address: "127.0.0.1:$first", kafka: {cluster: events, brokers: {ports: $((first + 1))-$((first + 11))}}}]
clusters: [{name: events, kafka: {}, endpoints: ["$broker"]}]
YAML
"$work/sidewire" run -c "$work/sidewire.yaml" >"$work/sidewire.log" 2>&1 &
pids+=($!)

# Verdicts are the names of tests.
for side in direct sidewire; do
	echo "$side"
	addr=$broker
	[ $side = direct ] || addr=127.0.0.1:$first
	(cd "$work/kgo/pkg/kgo" && KGO_SEEDS=$addr KGO_TEST_RF=1 KGO_TEST_STABLE_FETCH=true KGO_TEST_RECORDS=${RECORDS:-5000} KGO_LOG_LEVEL=none \
		timeout "${LIMIT:-170}" "$work/kgo.test" -test.v -test.run "${KGO:-.}" -test.timeout "${LIMIT:-170}s") >"$work/$side.log" 2>&1 || true
	sed -n 's/^--- PASS: \([A-Za-z0-9_]*\).*/\1/p' "$work/$side.log" | sort >"$work/$side.passed"
	sed -n 's/^--- FAIL: \([A-Za-z0-9_]*\).*/\1/p' "$work/$side.log" | sort >"$work/$side.failed"
	echo "  $(wc -l <"$work/$side.passed") passed, $(wc -l <"$work/$side.failed") failed"
done
if [ ! -s "$work/direct.passed" ]; then
	echo "nothing passes directly: this run shows nothing"
	tail -n 5 "$work/direct.log"
	exit 1
fi
sed 's/^/  fails directly: /' "$work/direct.failed"
lost=$(comm -23 "$work/direct.passed" "$work/sidewire.passed")
if [ -n "$lost" ]; then
	echo "passes directly and not through sidewire:" $lost
	for name in $lost; do grep -A20 -e "--- FAIL: $name" "$work/sidewire.log" | head -25; done
	tail -n 10 "$work/sidewire.log"
	exit 1
fi
echo "conformance: what was run of franz-go $kgo passes through sidewire as it does directly"
