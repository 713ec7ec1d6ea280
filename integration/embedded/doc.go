// Package embedded runs stores inside this process, written in Go, for the demo and for tests that must work where no
// server is installed: MySQL-compatible data sources, Redis-compatible nodes and a Kafka cluster. They keep their data
// in memory, listen on free ports of 127.0.0.1 and are no measure of speed.
package embedded
