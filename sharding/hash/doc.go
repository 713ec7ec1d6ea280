// Package hash places keys on servers: hash functions, hash tags, Redis Cluster slots, and the ketama, modula, maglev and random
// distributions. Ketama, modula and the hash functions agree with twemproxy's bit for bit, so that a pool can change hands.
package hash
