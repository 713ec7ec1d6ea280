// Package redis frames the Redis serialization protocol in place and knows every command's keys, flags and shard policies.
package redis
