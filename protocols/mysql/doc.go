// Package mysql is the codec of the MySQL client/server protocol: packets,
// the connection phase, commands and replies, as bytes in and bytes and
// decisions out, without sockets, goroutines or clocks.
//
// Encoders append to the caller's buffer; decoders read from one and, where
// they return slices, borrow from it until the caller reuses that buffer.
package mysql
