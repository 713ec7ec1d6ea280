#!/usr/bin/env bash
# Installs the real servers, peers and load generators that `make test` and `make bench` start privately.
#
# usage: scripts/servers.sh [PART...]        parts: packages mysql kafka (default: all)
#        scripts/servers.sh --check          say what is there and what is missing, change nothing
#
# Needs Debian 12 (or what calls itself alike) and root for `packages` and `mysql`; `kafka` needs only
# Java and Maven. Nothing is started: a policy-rc.d keeps packages from starting their services. Everything that
# is no package goes under one cache folder: $SIDEWIRE_CACHE, else $XDG_CACHE_HOME/sidewire, else /var/cache/sidewire.
# A second run finds everything in place and ends within a second.
set -euo pipefail
# Packages put servers where an ordinary user's PATH does not look.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${SIDEWIRE_CACHE:-${XDG_CACHE_HOME:-/var/cache}/sidewire}

packages=(
  mariadb-server mariadb-client postgresql-15 redis-server redis-tools     # stores
  etcd-server                                                             # a source of `sidewire control`
  haproxy nutcracker pgbouncer                                            # peers
  sysbench kcat prometheus                                                # load, clients, promtool
  chromium                                                                # looks at the admin interface's page
  default-jre-headless-17-or-newer maven debootstrap                      # what the other parts stand on
)
# Each package is known by one file it brings, so that a second run asks neither dpkg nor the network.
declare -A brings=(
  [mariadb-server]=mariadbd [mariadb-client]=mariadb [postgresql-15]=/usr/lib/postgresql/15/bin/postgres
  [redis-server]=redis-server [redis-tools]=redis-benchmark [haproxy]=haproxy [nutcracker]=nutcracker
  [pgbouncer]=pgbouncer [sysbench]=sysbench [kcat]=kcat [prometheus]=promtool [chromium]=chromium [maven]=mvn [debootstrap]=debootstrap [etcd-server]=etcd
  [default-jre-headless-17-or-newer]=java
)

say()  { printf 'servers: %s\n' "$*"; }
fail() { printf 'servers: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

need_root() { [ "$(id -u)" = 0 ] || fail "$1 needs root: run \`sudo scripts/servers.sh $2\`"; }

# quietly runs a long command with its output in a log and shows the end of the log only when it fails.
quietly() {
  local what=$1 log; shift
  log=$(mktemp); say "$what"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 25 "$log" >&2; rm -f "$log"; fail "$what: failed (${1##*/})"
  fi
  rm -f "$log"
}

# without_services keeps packages from starting services while its command runs; a policy-rc.d that the machine
# already has stays as it is.
without_services() {
  local policy=$1/usr/sbin/policy-rc.d; shift
  if [ -e "$policy" ]; then "$@"; return; fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"
  trap "rm -f '$policy'" EXIT
  "$@"
  rm -f "$policy"; trap - EXIT
}

# --- packages -------------------------------------------------------------------------------------------------------

missing_packages() {
  local p
  for p in "${packages[@]}"; do
    have "${brings[$p]}" && continue
    [ "$p" = default-jre-headless-17-or-newer ] && p=openjdk-17-jre-headless
    echo "$p"
  done
}

apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }

part_packages() {
  local missing; mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  have apt-get || fail "packages: no apt-get here; install by hand: ${missing[*]}"
  need_root packages packages
  quietly "reading the package lists" apt-get update
  without_services "" quietly "installing ${missing[*]}" apt_install "${missing[@]}"
}

# --- mysql ----------------------------------------------------------------------------------------------------------

# Debian 12 has no MySQL, Debian's development suite has: it is unpacked into a folder of its own with the machine's
# own mirror, and its mysqld is run from there (see integration/servers/mysql.go); the machine itself is not touched.
debian_mirror() {
  local m
  m=$(apt-get indextargets --format '$(SITE) $(REPO_URI) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
      awk '$3 == "Debian" && $2 !~ /security/ {print $2; exit}')
  [ -n "$m" ] || fail "mysql: no Debian mirror among the machine's apt sources; run \`apt-get update\` and try again"
  echo "$m"
}

mysql_install() { # DIR MIRROR
  debootstrap --variant=minbase sid "$1" "$2"
  # The machine's way to its mirror (proxy, credentials, certificates) is the chroot's too.
  cp -a /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf.d/*artifact* "$1/etc/apt/apt.conf.d/" 2>/dev/null || true
  cp -a /etc/apt/auth.conf /etc/apt/auth.conf.d "$1/etc/apt/" 2>/dev/null || true
  chroot "$1" apt-get update
  without_services "$1" chroot "$1" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    mysql-server-core mysql-client-core
  rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"/usr/share/{doc,man,locale}
}

part_mysql() {
  local dir=$cache/mysql
  [ -x "$dir/usr/sbin/mysqld" ] && return 0
  need_root mysql mysql
  have debootstrap || part_packages
  local mirror; mirror=$(debian_mirror)
  mkdir -p "$cache"
  # Built beside its place and moved, so that a run cut short never looks finished.
  rm -rf "$dir.new" "$dir"
  quietly "unpacking MySQL from Debian sid into $dir (about 3 minutes, 600 MB)" mysql_install "$dir.new" "$mirror"
  [ -x "$dir.new/usr/sbin/mysqld" ] || fail "mysql: the packages brought no mysqld"
  mv "$dir.new" "$dir"
}

# --- jars -----------------------------------------------------------------------------------------------------------

# jars resolves integration/install/NAME.xml into the cache folder with Maven, which finds its repository in the
# machine's own settings.
jars() { # NAME WHAT
  local pom=$here/integration/install/$1.xml dir=$cache/$1 stamp
  stamp=$(cksum <"$pom")
  [ -f "$dir/complete" ] && [ "$(cat "$dir/complete")" = "$stamp" ] && return 0
  have java && have mvn || part_packages
  rm -rf "$dir.new"; mkdir -p "$dir.new"
  quietly "fetching $2 into $dir" mvn -q -B -f "$pom" dependency:copy-dependencies \
    -DoutputDirectory="$dir.new/lib" -DincludeScope=runtime -Dmdep.useBaseVersion=true
  echo "$stamp" >"$dir.new/complete"
  rm -rf "$dir"; mv "$dir.new" "$dir"
}

part_kafka() { jars kafka-4 "Apache Kafka 4"; jars kafka-3 "Apache Kafka 3.9"; }

# --- check ----------------------------------------------------------------------------------------------------------

check() {
  local bad=0 missing name
  mapfile -t missing < <(missing_packages)
  if [ ${#missing[@]} -gt 0 ]; then say "missing packages: ${missing[*]}"; bad=1; else say "packages: there"; fi
  if [ -x "$cache/mysql/usr/sbin/mysqld" ]; then say "mysql: $cache/mysql"; else say "mysql: missing"; bad=1; fi
  for name in kafka-4 kafka-3; do
    if [ -f "$cache/$name/complete" ]; then say "$name: $cache/$name"; else say "$name: missing"; bad=1; fi
  done
  return $bad
}

[ "${1:-}" = --check ] && { check; exit; }
[ "${1:-}" = --help ] || [ "${1:-}" = -h ] && { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$0"; exit; }
[ $# -gt 0 ] || set -- packages mysql kafka
for part in "$@"; do
  case $part in
    packages|mysql|kafka) "part_$part" ;;
    *) fail "unknown part \"$part\" (packages, mysql, kafka)" ;;
  esac
done
say "everything asked for is in place"
