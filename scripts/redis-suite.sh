#!/usr/bin/env bash
# Runs Redis's own Tcl suite (from Debian's source package, fetched and thrown away) directly and through sidewire, and fails if sidewire
# loses more than the agreed share of what passes directly: transparent, before one server, in RESP2 and RESP3; sharded, before a cluster of
# three shown as one node. Tests in scripts/redis-suite.skip, and in
# redis-suite.sharded.skip for the last, are left out, with their reasons.
#
# usage: scripts/redis-suite.sh [transparent] [resp3] [sharded]      default: all
# UNITS="unit/type/list ..." narrows it, SUITE=DIR is a source tree that is there already, OUTPUT=DIR keeps what the suite printed: a
# unit whose output is there is not run again, so that a long run can be made in pieces.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
pids=()
finish() { # a server in an endless script hears only the second word
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	read -rt 0.5 <> <(:) || true
	for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

for tool in tclsh redis-server redis-cli; do
	command -v "$tool" >/dev/null || { echo "redis-suite: $tool is missing; make servers installs it" >&2; exit 1; }
done
if [ -z "${SUITE:-}" ]; then
	mkdir -p "$work/lists/partial" "$work/parts" "$work/src"
	for f in /etc/apt/sources.list.d/*.sources; do
		grep -l 'deb\.debian\.org' "$f" >/dev/null && sed 's/^Types: .*/Types: deb-src/' "$f" >"$work/parts/$(basename "$f")"
	done
	apt=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists")
	(cd "$work/src" && apt-get "${apt[@]}" -qq update && apt-get "${apt[@]}" -qq source --download-only redis >/dev/null 2>&1 && tar xzf redis_*.orig.tar.gz)
	SUITE=$(echo "$work"/src/redis-*/)
fi
for b in redis-server redis-cli redis-benchmark; do ln -sf "$(command -v $b)" "$SUITE/src/$b"; done
# This suite knows no --force-resp3 yet: its clients are made to say HELLO 3 before anything else. What fails directly by that counts for nobody.
grep -q FORCE_RESP3 "$SUITE/tests/support/redis.tcl" || sed -i '0,/^    interp alias {} ::redis::redisHandle\$id/{/^    interp alias {} ::redis::redisHandle\$id/i\
    if {[info exists ::env(FORCE_RESP3)]} {\
        set ::redis::readraw($id) 0\
        puts -nonewline $fd "*2\\r\\n\\$5\\r\\nHELLO\\r\\n\\$1\\r\\n3\\r\\n"; flush $fd\
        catch {::redis::redis_read_reply $id $fd}\
        set ::redis::readraw($id) $readraw\
    }
}' "$SUITE/tests/support/redis.tcl"
(cd "$here" && go build -o "$work/sidewire" ./cmd/sidewire)
output=${OUTPUT:-$work/output}
mkdir -p "$output"
units=${UNITS:-$(sed -n '/^set ::all_tests/,/^}/s/^ *\(unit\/.*\)/\1/p' "$SUITE/tests/test_helper.tcl")}
grep -v '^#' "$here/scripts/redis-suite.skip" | grep . >"$work/skip"

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
	"$work/sidewire" run -c "$work/proxy-$1.yaml" 2>"$output/sidewire-$1.log" &
	pids+=($!)
	"$work/sidewire" wait --admin "127.0.0.1:$(($1 + 1))"
}
suite() { # suite NAME PORT FLAGS: unit by unit, so that one that does not end costs itself only
	local unit out
	for unit in $units; do
		out=$output/$1/${unit//\//-}.out
		[ -s "$out" ] && continue
		mkdir -p "$output/$1"
		(cd "$SUITE" && timeout 120 ./runtest --host 127.0.0.1 --port "$2" --verbose --clients 1 --durable --timeout 60 --singledb --ignore-encoding --ignore-digest \
			--skipfile "$work/skip" --single "$unit" --baseport $((port + 3000)) \
			--tags "-slow -needs:debug -needs:pfdebug -needs:repl -needs:save -needs:config-maxmemory -needs:config-resetstat -needs:latency -large-memory" \
			"${@:3}" >"$work/out" 2>&1) || true
		for p in $serving; do # what a unit left running is not the next one's trouble
			for stop in "script kill" "function kill" "client unpause"; do timeout 5 redis-cli -p "$p" $stop >/dev/null 2>&1 || true; done
		done
		sed 's/\x1b\[[0-9;]*m//g' "$work/out" >"$out"
	done
}
passed() { # passed NAME: unit and name of each test that passed
	local unit
	for unit in $units; do
		sed -n "s,^\[ok\]: \(.*\) ([0-9]* ms)$,$unit: \1,p" "$output/$1/${unit//\//-}.out"
	done | sort -u
}
verdict() { # verdict WHAT DIRECT VIA PERCENT
	local all lost
	passed "$2" >"$work/$2.ok"
	passed "$3" >"$work/$3.ok"
	all=$(wc -l <"$work/$2.ok")
	comm -23 "$work/$2.ok" "$work/$3.ok" >"$work/$3.lost"
	lost=$(wc -l <"$work/$3.lost")
	echo "$1: $((all - lost)) of $all that pass directly"
	sed 's/^/  lost: /' "$work/$3.lost"
	[ "$all" -gt 0 ] && [ $(((all - lost) * 100)) -ge $((all * $4)) ]
}

transparent() { # transparent NAME
	port=$((port + 100))
	serving="$port $((port + 10))"
	server "$port"; server "$((port + 10))"
	proxy "$((port + 20))" ", auth: upstream" "" "\"127.0.0.1:$((port + 10))\""
	suite "direct-$1" "$port"
	suite "via-$1" "$((port + 20))"
	verdict "$1" "direct-$1" "via-$1" 98
}
sharded() {
	grep -v '^#' "$here/scripts/redis-suite.sharded.skip" | grep . >>"$work/skip"
	port=$((port + 100))
	serving="$port $((port + 1)) $((port + 2)) $((port + 10))"
	for i in 0 1 2; do server $((port + i)) --cluster-enabled yes; done
	redis-cli --cluster create 127.0.0.1:$port 127.0.0.1:$((port + 1)) 127.0.0.1:$((port + 2)) --cluster-yes >/dev/null
	server $((port + 10)) --cluster-enabled yes
	redis-cli -p $((port + 10)) cluster addslotsrange 0 16383 >/dev/null
	for p in $serving; do
		until redis-cli -p "$p" cluster info | grep -q cluster_state:ok; do read -rt 0.1 <> <(:) || true; done
	done
	proxy $((port + 20)) ", face: cluster" ", hashing: slots" "\"127.0.0.1:$port\""
	suite direct-sharded $((port + 10)) --cluster-mode
	suite via-sharded $((port + 20)) --cluster-mode
	verdict sharded direct-sharded via-sharded 85
}
status=0
[ $# -gt 0 ] || set -- transparent resp3 sharded
for run in "$@"; do
	case $run in
	transparent) transparent transparent || status=1 ;;
	resp3) FORCE_RESP3=1 transparent resp3 || status=1 ;;
	sharded) sharded || status=1 ;;
	*) echo "redis-suite: unknown run \"$run\" (transparent, resp3, sharded)" >&2; exit 2 ;;
	esac
done
exit $status
