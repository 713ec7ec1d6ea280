#!/usr/bin/env bash
# fuzz: runs every fuzz target of the main module for FUZZTIME (10s), one after the other; ONLY=expression for some of them.
# An input that fails stays under testdata/fuzz, where the ordinary tests find it.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-10s} only=${ONLY:-.} go=${GO:-go}
failed=()
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	[[ "$package/$target" =~ $only ]] || continue
	echo "== $package $target"
	"$go" test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" || failed+=("$package/$target")
done < <(git grep -oE "^func Fuzz[A-Za-z0-9_]*" -- "*_test.go" ":!integration" | sed "s/:func /:/")
if [ ${#failed[@]} -gt 0 ]; then
	printf 'failed: %s\n' "${failed[@]}"
	exit 1
fi
