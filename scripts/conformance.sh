#!/usr/bin/env bash
# conformance: drives sidewire with go-control-plane's own integration test (pkg/test/main), in Envoy's place.
# The suite is fetched as a Go module; none of its files is kept. UPDATES and REQUESTS set its length; ONLY, an expression, chooses among
# the modes, such as '^delta-ads$'.
set -euo pipefail
. "$(dirname "$0")/suite.bash"
version=v0.14.0
updates=${UPDATES:-20} requests=${REQUESTS:-5}
fetch github.com/envoyproxy/go-control-plane "$version" suite
cd "$work/suite"
sed -i '/^replace/,/^)/d' go.mod # the folders it points to are modules of their own, outside this one
GOFLAGS=-mod=mod go build -o "$work/test" ./pkg/test/main
GOFLAGS=-mod=mod go build -o "$work/upstream" ./internal/upstream

message=$'Hi, there!\n'
run() {
	local mode=$1
	[[ "$*" =~ ${ONLY:-.} ]] || return 0
	shift
	echo "== $mode $*"
	"$work/upstream" -message="$message" >"$work/upstream.log" 2>&1 &
	local upstream=$!
	"$work/sidewire" -c "sample/bootstrap-$mode.yaml" --drain-time-s 1 -l debug >"$work/sidewire.log" 2>&1 &
	local sidewire=$!
	pids=("$upstream" "$sidewire")
	local failed=0
	timeout 300 "$work/test" --xds="$mode" -message="$message" -http=0 -scopedhttp=0 -vhdshttp=0 -tcp=4 \
		-u "$updates" -r "$requests" -delay 100ms "$@" >"$work/test.log" 2>&1 || failed=1
	kill "$upstream" "$sidewire"
	wait "$upstream" "$sidewire" 2>/dev/null || true
	pids=()
	grep -c 'pass true' "$work/test.log" | sed 's/$/ request batches passed/'
	if [ $failed -ne 0 ]; then
		tail -n 20 "$work/test.log" "$work/sidewire.log"
		exit 1
	fi
}

run ads
run delta-ads
run ads -tls
run delta-ads -tls
run ads -mux
echo "conformance: go-control-plane $version passed"
