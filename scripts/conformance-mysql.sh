#!/usr/bin/env bash
# conformance-mysql [mariadb] [mysql]: go-sql-driver's own test suite, directly and through sidewire, before both or one; then
# MySQL's and MariaDB's JDBC drivers (scripts/clients/Battery.java), where Java and Maven are installed.
# The suite is fetched as a Go module; none of its files is kept. A test that passes directly and not through sidewire
# fails the run, except for those that ask the server about the connection that it has itself:
#   TestConnectionAttributes  performance_schema shows the attributes of sidewire's connection, which many clients share
#   TestTLS                   MariaDB without TLS has no cipher to show, whatever the client's own connection has
set -euo pipefail
. "$(dirname "$0")/suite.bash"
version=v1.10.1
[ $# -gt 0 ] || set -- mariadb mysql
expected='TestConnectionAttributes|TestTLS'
skip='TestConnectorReturnsTimeout' # needs a network that swallows packets
code=0
fetch github.com/go-sql-driver/mysql "$version" suite
(cd "$work/suite" && go test -c -o "$work/suite.test" .)
jdbc=()
if command -v java >/dev/null && command -v mvn >/dev/null; then
	for driver in com.mysql:mysql-connector-j:9.5.0 org.mariadb.jdbc:mariadb-java-client:3.5.6; do
		mvn -q -B dependency:copy -Dartifact="$driver" -DoutputDirectory="$work" >"$work/maven.log" 2>&1 || { cat "$work/maven.log" >&2; exit 1; }
		IFS=: read -r _ name number <<<"$driver"
		jdbc+=("$work/$name-$number.jar")
	done
fi
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" -days 2 -subj /CN=localhost 2>/dev/null

servers "$@"
port() { sed -n "s/^$1-1 primary.* -P \([0-9]*\) .*/\1/p" "$work/servers.txt"; }
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

run() { # NAME PORT: passed and failed tests of the suite
	(cd "$work/suite" && MYSQL_TEST_USER=app MYSQL_TEST_PASS=app-secret MYSQL_TEST_ADDR=127.0.0.1:$2 timeout 170 \
		"$work/suite.test" -test.v -test.skip "$skip") >"$work/$1.log" 2>&1 || true
	grep -q '^\(PASS\|FAIL\)$' "$work/$1.log" || { echo "$1: the suite did not end within its time" >&2; code=1; }
	grep -c '^--- PASS' "$work/$1.log" >"$work/$1.passed" || true
	sed -n 's/^--- FAIL: \([A-Za-z0-9_]*\).*/\1/p' "$work/$1.log" | sort >"$work/$1.failed"
}

for server in "$@"; do
	direct=$(port "$server") through=$(free) tls=''
	[ "$server" = mariadb ] || tls=', tls: {insecure_skip_verify: true}'
	mariadb -h 127.0.0.1 -P "$direct" -u admin -padmin-secret -e 'CREATE DATABASE IF NOT EXISTS gotest; SET GLOBAL local_infile = 1'
	cat >"$work/$server.yaml" <<-END
		admin: {address: ""}
		listeners:
		  - name: suite
		    address: 127.0.0.1:$through
		    tls: {cert: $work/cert.pem, key: {file: $work/key.pem}}
		    mysql: {cluster: suite, users: [{name: app, password: app-secret}]}
		clusters:
		  - {name: suite, mysql: {user: app, password: app-secret}, endpoints: ["127.0.0.1:$direct"]$tls}
	END
	"$work/sidewire" run -c "$work/$server.yaml" >"$work/$server.sidewire.log" 2>&1 &
	pids+=($!)
	for _ in $(seq 50); do (echo >"/dev/tcp/127.0.0.1/$through") 2>/dev/null && break; sleep 0.2; done
	run "$server-direct" "$direct"
	run "$server-through" "$through"
	different=$(comm -13 "$work/$server-direct.failed" "$work/$server-through.failed" | tr '\n' ' ')
	echo "$server: $(cat "$work/$server-direct.passed") tests pass directly, $(cat "$work/$server-through.passed") through sidewire; only through sidewire fail: ${different:-none}"
	for jar in "${jdbc[@]}"; do
		scheme=jdbc:mysql
		[[ $jar != *mariadb-java* ]] || scheme=jdbc:mariadb
		timeout 120 java -cp "$jar" scripts/clients/Battery.java "$scheme://127.0.0.1:$through/gotest" app app-secret 2>"$work/jdbc.log" |
			sed "s/^/$server: /" || { code=1; head -20 "$work/jdbc.log"; }
	done
	for test in $different; do
		[[ $test =~ ^($expected)$ ]] || { code=1; sed -n "/^=== RUN   $test\$/,/^--- /p" "$work/$server-through.log" | head -40; }
	done
done
exit $code
