#!/usr/bin/env bash
# conformance-kafka: franz-go's own integration tests (kgo) and segmentio/kafka-go's, directly and through sidewire, before
# Apache Kafka 4. The suites are fetched as Go modules; none of their files is kept. A test that passes directly and not through
# sidewire fails the run. SUITES="kgo kafka-go" and KGO='^TestX' choose a part; Kafka's own tools, kcat and the chaos tests are in
# integration/kafka.
set -euo pipefail
. "$(dirname "$0")/suite.bash"
kgo=v1.22.2 kafkago=v0.4.51
suites=${SUITES:-kgo kafka-go}
compile() { # NAME PACKAGE: a test binary of a package
	(cd "$work/$1/$2" && GOFLAGS=-mod=mod go test -c -o "$work/$1.test" .)
}

for suite in $suites; do
	case $suite in
	kgo) fetch github.com/twmb/franz-go "$kgo" kgo && compile kgo pkg/kgo ;;
	kafka-go) fetch github.com/segmentio/kafka-go "$kafkago" kafka-go && compile kafka-go . ;;
	esac
done
echo "suites are built, Kafka starts"
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

# A suite runs against the broker and against sidewire; verdicts are the names of its tests.
verdicts() { # NAME: from its log
	sed -n 's/^--- PASS: \([A-Za-z0-9_]*\).*/\1/p' "$work/$1.log" | sort >"$work/$1.passed"
	sed -n 's/^--- FAIL: \([A-Za-z0-9_]*\).*/\1/p' "$work/$1.log" | sort >"$work/$1.failed"
}
compare() { # SUITE
	verdicts "$1-direct"
	verdicts "$1-sidewire"
	echo "$1: directly $(wc -l <"$work/$1-direct.passed") passed, $(wc -l <"$work/$1-direct.failed") failed;" \
		"through sidewire $(wc -l <"$work/$1-sidewire.passed") passed, $(wc -l <"$work/$1-sidewire.failed") failed"
	if [ ! -s "$work/$1-direct.passed" ]; then
		echo "  nothing passes directly: this run shows nothing"
		tail -n 5 "$work/$1-direct.log"
		failed=1
	fi
	sed 's/^/  fails directly too, or directly only: /' "$work/$1-direct.failed"
	lost=$(comm -23 "$work/$1-direct.passed" "$work/$1-sidewire.passed")
	if [ -n "$lost" ]; then
		echo "  passes directly and not through sidewire:" $lost
		for name in $lost; do grep -A20 -e "--- FAIL: $name" "$work/$1-sidewire.log" | head -25; done
		tail -n 10 "$work/sidewire.log"
		failed=1
	fi
}
failed=0
for suite in $suites; do
	case $suite in
	kgo)
		for side in direct sidewire; do
			echo "$suite, $side"
			addr=$broker
			[ $side = direct ] || addr=127.0.0.1:$first
			(cd "$work/kgo/pkg/kgo" && KGO_SEEDS=$addr KGO_TEST_RF=1 KGO_TEST_STABLE_FETCH=true KGO_TEST_RECORDS=${RECORDS:-5000} KGO_LOG_LEVEL=none \
				timeout "${LIMIT:-170}" "$work/kgo.test" -test.v -test.run "${KGO:-.}" -test.timeout "${LIMIT:-170}s") >"$work/kgo-$side.log" 2>&1 || true
		done
		compare kgo
		;;
	kafka-go)
		for side in direct sidewire; do
			echo "$suite, $side"
			addr=$broker
			[ $side = direct ] || addr=127.0.0.1:$first
			# Its tests know one address.
			find "$work/kafka-go" -name '*_test.go' -exec sed -i -E "s/(localhost|127\.0\.0\.1):(9092|[0-9]{5})/$addr/g; s/TCP\(\"localhost\"\)/TCP(\"$addr\")/g" {} +
			(cd "$work/kafka-go" && GOFLAGS=-mod=mod go test -c -o "$work/kafka-go.test" . && KAFKA_VERSION=4.0.0 timeout "${LIMIT:-170}" "$work/kafka-go.test" -test.v \
				-test.run "${KAFKAGO:-^Test(Conn|Client|Reader|Writer|Consumer|Metadata|Batch)}" -test.timeout "${LIMIT:-170}s") >"$work/kafka-go-$side.log" 2>&1 || true
		done
		compare kafka-go
		;;
	esac
done
[ $failed -eq 0 ] && echo "conformance: what was run of $suites (franz-go $kgo, kafka-go $kafkago) passes through sidewire as it does directly"
exit $failed
