#!/usr/bin/env bash
# Drives sidewire with clients of other languages: redis-py, ioredis, node-redis, Jedis and Lettuce (fetched, and thrown away) and redis-cli
# --cluster, before one server, and before a Redis Cluster of three that is shown as a server and as a cluster of one node. CLIENTS=DIR keeps what was fetched.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
pids=()
finish() { for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT
for tool in redis-server redis-cli python3 npm java mvn; do
	command -v "$tool" >/dev/null || { echo "redis-clients: $tool is missing" >&2; exit 1; }
done
clients=${CLIENTS:-$work/clients}
if [ ! -d "$clients/node_modules" ]; then
	mkdir -p "$clients"
	python3 -m venv "$clients/venv"
	"$clients/venv/bin/pip" -q install redis
	(cd "$clients" && npm init -y >/dev/null && npm install --silent --no-audit --no-fund ioredis redis >/dev/null)
	mvn -q -B -f "$here/scripts/clients/redis.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$clients/lib" >"$work/maven.log" 2>&1 ||
		{ cat "$work/maven.log" >&2; exit 1; }
fi
cp "$here"/scripts/clients/battery.* "$here/scripts/clients/RedisBattery.java" "$clients"
(cd "$here" && go build -o "$work/sidewire" ./cmd/sidewire)
port=$((20000 + RANDOM % 8000))
for i in 0 1 2 3; do
	mkdir "$work/$i"
	redis-server --port $((port + i)) --dir "$work/$i" --save '' --cluster-enabled "$([ $i = 3 ] && echo no || echo yes)" >"$work/$i/log" &
	pids+=($!)
done
for i in 0 1 2 3; do until redis-cli -p $((port + i)) ping >/dev/null 2>&1; do read -rt 0.1 <> <(:) || true; done; done
redis-cli --cluster create 127.0.0.1:$port 127.0.0.1:$((port + 1)) 127.0.0.1:$((port + 2)) --cluster-yes >/dev/null
cat >"$work/sidewire.yaml" <<CONF
admin: {address: "127.0.0.1:$((port + 9))"}
listeners:
  - {name: one, address: "127.0.0.1:$((port + 4))", redis: {cluster: one}}
  - {name: several, address: "127.0.0.1:$((port + 5))", redis: {cluster: several}}
  - {name: face, address: "127.0.0.1:$((port + 6))", redis: {cluster: several, face: cluster}}
clusters:
  - {name: one, redis: {}, endpoints: ["127.0.0.1:$((port + 3))"]}
  - {name: several, redis: {hashing: slots}, endpoints: ["127.0.0.1:$port"]}
CONF
"$work/sidewire" run -c "$work/sidewire.yaml" 2>"$work/sidewire.log" &
pids+=($!)
"$work/sidewire" wait --admin "127.0.0.1:$((port + 9))"
cd "$clients"
for at in "standalone $((port + 4))" "standalone $((port + 5))" "cluster $((port + 6))"; do
	set -- $at
	timeout 60 venv/bin/python battery.py "$1" 127.0.0.1 "$2"
	timeout 60 node battery.mjs "$1" 127.0.0.1 "$2"
	timeout 120 java -cp 'lib/*' RedisBattery.java "$1" 127.0.0.1 "$2" 2>"$work/java.log" || { cat "$work/java.log" >&2; exit 1; } # it warns of closing twice
done
redis-cli --cluster check "127.0.0.1:$((port + 6))" >"$work/check" || { cat "$work/check"; exit 1; }
grep -q 'All 16384 slots covered' "$work/check" || { cat "$work/check"; exit 1; }
echo "redis-cli --cluster check: passed"
