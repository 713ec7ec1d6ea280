// Package servers starts private real servers on free ports in temporary folders, for tests, benchmarks and the peers
// they are compared with: MariaDB, MySQL, PostgreSQL, Redis, Apache Kafka, HAProxy, twemproxy, PgBouncer, Kroxylicious
// and the sidewire binary itself.
//
// Tests use the functions that take a [TB]:
//
//	db := servers.MariaDB(t, servers.Replicas(1))
//	kv := servers.Redis(t, servers.Private())
//
// A server that is asked for with equal options is started once a process and shared, tests that run in parallel
// included; one that a test will kill, stop or reconfigure is asked for with [Private] and ends with its test. Where
// a server cannot be had, a test is skipped with the reason, and fails when CI=true; `make servers` installs them.
//
// Programs that are no tests make a [Fleet] and call its methods, which return errors.
//
// Nothing is left behind, whatever becomes of the process: every server is a child of a supervisor (the same
// executable, started a second time, see supervisor_linux.go) that holds one end of a pipe. When the pipe ends, because
// the process closed its fleet, returned, panicked or was killed, the supervisor kills every descendant and removes
// the folder. Should the supervisor itself be killed, its children die by their parent-death signal and the folder is
// removed by the next fleet.
package servers
