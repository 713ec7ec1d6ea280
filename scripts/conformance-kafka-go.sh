#!/usr/bin/env bash
# conformance-kafka-go: the whole of segmentio/kafka-go's tests that need a broker, unchanged, directly and through sidewire. They know
# one address each for a plain and a SASL listener (localhost:9092 and 9093), so that each side has a network namespace to itself: in one
# a broker listens there, in the other sidewire does. Each test runs in a process of its own, so that one that hangs takes no other along,
# and up to three times, since many do not wait until what they created is known. One that passes directly and not through sidewire fails
# the run, except those that scripts/conformance-kafka-go.differ names with the reason. LINE=3.9 takes that Kafka, ONLY=expression some of
# the tests, LIMIT a time for each; needs root or user namespaces.
set -euo pipefail
. "$(dirname "$0")/suite.bash"
kafkago=v0.4.51 line=${LINE:-4} packages=". sasl topics"
as_root=() enter=()
[ "$(id -u)" -eq 0 ] || as_root=(--map-root-user) enter=(--user --preserve-credentials)

fetch github.com/segmentio/kafka-go "$kafkago" kafka-go
for package in $packages; do
	(cd "$work/kafka-go/$package" && GOFLAGS=-mod=mod go test -c -o tests .)
done

namespace() { # SIDE: its command prefix is in $inside
	unshare "${as_root[@]}" --net sleep infinity &
	pids+=($!)
	inside=(nsenter --target $! --net "${enter[@]}" --)
	until [ "$(readlink "/proc/$!/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
	"${inside[@]}" ip link set lo up
}
broker() { # PORT: Kafka as kafka-go's own docker-compose has it
	servers "kafka:line=$line,sasl,at=$1,account=adminplain:admin-secret,account=adminscram256:admin-secret-256,account=adminscram512:admin-secret-512,$(
	)auto.create.topics.enable=true,message.max.bytes=200000000,delete.topic.enable=true,allow.everyone.if.no.acl.found=true,super.users=User:ANONYMOUS,broker.rack=,$(
	)authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
}
namespace && direct=("${inside[@]}") && broker 9092
namespace && through=("${inside[@]}") && broker 19092
cat >"$work/sidewire.yaml" <<YAML
admin: {address: ""}
listeners:
  - {name: plain, address: "127.0.0.1:9092", kafka: {cluster: plain, brokers: {ports: 9192-9199, advertise: localhost}}}
  - {name: sasl, address: "127.0.0.1:9093", kafka: {cluster: sasl, brokers: {ports: 9292-9299, advertise: localhost}}}
clusters:
  - {name: plain, kafka: {}, endpoints: ["127.0.0.1:19092"]}
  - {name: sasl, kafka: {}, endpoints: ["127.0.0.1:19093"]} # clients authenticate through sidewire
YAML
"${through[@]}" "$work/sidewire" run -c "$work/sidewire.yaml" >"$work/sidewire.log" 2>&1 &
pids+=($!)

# A side's verdicts are lines of package, test and PASS, FAIL or SKIP; what a test wrote is kept in SIDE.log.
side() ( # SIDE PREFIX...
	local side=$1 package name verdict
	shift
	for package in $packages; do
		cd "$work/kafka-go/$package"
		for name in $(./tests -test.list "${ONLY:-.}"); do
			for _ in 1 2 3; do
				KAFKA_VERSION=$version KAFKA_SKIP_NETTEST=1 timeout "${LIMIT:-120}" "$@" ./tests -test.v -test.run "^$name\$" >"$work/$side.out" 2>&1 || true
				verdict=$(sed -nE "s/^--- (PASS|FAIL|SKIP): $name .*/\1/p" "$work/$side.out" | tail -1)
				[ "${verdict:-FAIL}" = FAIL ] || break
			done
			echo "$package $name ${verdict:-FAIL}" >>"$work/$side.verdicts"
			echo "$side $package $name ${verdict:-FAIL}"
			[ "${verdict:-FAIL}" != FAIL ] || { echo "=== $package $name" && tail -n 40 "$work/$side.out"; } >>"$work/$side.log"
		done
	done
)
version=4.0.0
[ "$line" = 4 ] || version=3.7.0 # the last line before 4 that it knows
for s in direct through; do : >"$work/$s.log"; : >"$work/$s.verdicts"; done
side direct "${direct[@]}" &
first=$!
side through "${through[@]}"
wait $first

for s in direct through; do
	echo "kafka-go $kafkago, Kafka $line, $s: $(grep -c PASS "$work/$s.verdicts") passed, $(grep -c FAIL "$work/$s.verdicts" || true) failed, $(grep -c SKIP "$work/$s.verdicts" || true) skipped"
	sed -n 's/ FAIL$//p' "$work/$s.verdicts" | while read -r package name; do
		echo "  fails $s: $package $name:" "$(sed -n "/^=== ${package//./\\.} $name\$/,/^=== [^ ]* Test/p" "$work/$s.log" | grep -m1 -E '_test\.go:[0-9]+:|^panic|timed out' || echo "no end within ${LIMIT:-120} s")"
	done
done
grep -q PASS "$work/direct.verdicts" || { echo "nothing passes directly: this run shows nothing" && tail -n 40 "$work/direct.log" && exit 1; }
lost=$(comm -23 <(grep PASS "$work/direct.verdicts" | sort) <(grep PASS "$work/through.verdicts" | sort) | grep -vwFf <(sed 's/:.*//' scripts/conformance-kafka-go.differ) || true)
if [ -n "$lost" ]; then
	echo "pass directly and not through sidewire:" "$lost"
	cat "$work/through.log"
	tail -n 20 "$work/sidewire.log"
	exit 1
fi
