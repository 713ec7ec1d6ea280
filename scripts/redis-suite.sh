#!/usr/bin/env bash
# Runs Redis's own Tcl suite (from Debian's source package, fetched and thrown away) directly and through sidewire, and fails if sidewire
# loses more than the agreed share of what passes directly: transparent, before one server, in RESP2 and RESP3; sharded, before a cluster of
# three shown as one node. UNITS="unit/type/list ..." narrows it. Tests in scripts/redis-suite.skip are left out, each with its reason.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
pids=()
finish() { for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT

for tool in tclsh redis-server redis-cli; do
	command -v "$tool" >/dev/null || { echo "redis-suite: $tool is missing; make servers installs it" >&2; exit 1; }
done
mkdir -p "$work/lists/partial" "$work/parts" "$work/src"
for f in /etc/apt/sources.list.d/*.sources; do
	grep -l 'deb\.debian\.org' "$f" >/dev/null && sed 's/^Types: .*/Types: deb-src/' "$f" >"$work/parts/$(basename "$f")"
done
apt=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists")
(cd "$work/src" && apt-get "${apt[@]}" -qq update && apt-get "${apt[@]}" -qq source --download-only redis >/dev/null 2>&1 && tar xzf redis_*.orig.tar.gz)
suite=$(echo "$work"/src/redis-*/)
for b in redis-server redis-cli redis-benchmark; do ln -sf "$(command -v $b)" "$suite/src/$b"; done
(cd "$here" && go build -o "$work/sidewire" ./cmd/sidewire)

port=$((22000 + RANDOM % 5000))
server() { # server PORT ARGS: a fresh one
	mkdir -p "$work/$1"
	redis-server --port "$1" --dir "$work/$1" --save '' --appendonly no --enable-debug-command yes "${@:2}" >"$work/$1/log" &
	pids+=($!)
	until redis-cli -p "$1" ping >/dev/null 2>&1; do read -rt 0.1 <> <(:) || true; done
}
proxy() { # proxy PORT LISTENER CLUSTER ENDPOINTS
	cat >"$work/proxy-$1.yaml" <<CONF
admin: {address: "127.0.0.1:$(($1 + 1))"}
listeners: [{name: redis, address: "127.0.0.1:$1", redis: {cluster: c$2}}]
clusters: [{name: c, redis: {timeout: 60s$3}, endpoints: [$4]}]
CONF
	"$work/sidewire" run -c "$work/proxy-$1.yaml" 2>"$work/proxy-$1.log" &
	pids+=($!)
	"$work/sidewire" wait --address "127.0.0.1:$(($1 + 1))" >/dev/null 2>&1 || until redis-cli -p "$1" ping >/dev/null 2>&1; do read -rt 0.1 <> <(:) || true; done
}
suite() { # suite NAME PORT FLAGS
	local args=()
	for u in ${UNITS:-}; do args+=(--single "$u"); done
	(cd "$suite" && ./runtest --host 127.0.0.1 --port "$2" --verbose --clients 1 --durable --timeout 60 --singledb --ignore-encoding --ignore-digest \
		--skipfile "$work/skip" \
		--tags "-slow -needs:debug -needs:pfdebug -needs:repl -needs:save -needs:config-maxmemory -needs:config-resetstat -needs:latency -large-memory" \
		"${args[@]}" "${@:3}" >"$work/$1.out" 2>&1) || true
	sed 's/\x1b\[[0-9;]*m//g' "$work/$1.out" | sed -n 's/^\[ok\]: \(.*\) ([0-9]* ms)$/\1/p' | sort -u >"$work/$1.ok"
}
verdict() { # verdict WHAT DIRECT VIA PERCENT
	local all lost
	all=$(wc -l <"$work/$2.ok")
	comm -23 "$work/$2.ok" "$work/$3.ok" >"$work/$3.lost"
	lost=$(wc -l <"$work/$3.lost")
	echo "$1: $((all - lost)) of $all that pass directly"
	sed 's/^/  lost: /' "$work/$3.lost"
	[ "$all" -gt 0 ] && [ $(((all - lost) * 100)) -ge $((all * $4)) ]
}

grep -v '^#' "$here/scripts/redis-suite.skip" | grep . >"$work/skip"
status=0
for version in "" --force-resp3; do
	server "$port"; server "$((port + 10))"
	proxy "$((port + 20))" ", auth: upstream" "" "\"127.0.0.1:$((port + 10))\""
	suite "direct$version" "$port" $version
	suite "via$version" "$((port + 20))" $version
	verdict "transparent $version" "direct$version" "via$version" 98 || status=1
	port=$((port + 100))
done
for i in 0 1 2; do server $((port + i)) --cluster-enabled yes; done
redis-cli --cluster create 127.0.0.1:$port 127.0.0.1:$((port + 1)) 127.0.0.1:$((port + 2)) --cluster-yes >/dev/null
server $((port + 10)) --cluster-enabled yes
redis-cli -p $((port + 10)) cluster addslotsrange 0 16383 >/dev/null
proxy $((port + 20)) ", face: cluster" ", hashing: slots" "\"127.0.0.1:$port\""
suite direct-cluster $((port + 10)) --cluster-mode
suite via-cluster $((port + 20)) --cluster-mode
verdict sharded direct-cluster via-cluster 85 || status=1
exit $status
