# Sourced by the conformance scripts, with bash's -e set: a place to work in that goes with everything that was started, sidewire
# built into it, other people's suites fetched into it as Go modules, and real servers started.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
	chmod -R u+w "$work"
	rm -rf "$work"
}
trap cleanup EXIT
go build -trimpath -o "$work/sidewire" ./cmd/sidewire

fetch() { # MODULE VERSION NAME: its files, to be changed at will
	local said
	said=$(go mod download -json "$1@$2") || { echo "$said" >&2 && return 1; } # its error is in what it says
	cp -r "$(sed -n 's/.*"Dir": "\(.*\)",\?/\1/p' <<<"$said")" "$work/$3"
	chmod -R u+w "$work/$3"
}

inside=() # a command that others are started by, to be somewhere else

servers() { # KIND...: started, and told of in servers.txt
	[ -x "$work/servers" ] || (cd integration && go build -o "$work/servers" ./servers/run)
	"${inside[@]}" "$work/servers" "$@" >"$work/servers.txt" 2>&1 &
	pids+=($!)
	for _ in $(seq 120); do grep -q 'Ctrl-C ends' "$work/servers.txt" && return; sleep 0.5; done
	cat "$work/servers.txt" >&2
	return 1
}
