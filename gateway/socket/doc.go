// Package socket is how bytes move: connections over raw non-blocking system calls, pooled buffers, hang-up watching and TLS as a byte transform.
package socket
