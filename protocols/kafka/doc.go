// Package kafka is the part of Kafka's wire protocol a proxy needs: frames and headers parsed in place, bodies walked as
// they stream by, and the responses that carry broker addresses rewritten. It does no I/O and keeps no clock.
package kafka
