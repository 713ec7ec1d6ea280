// Package sharding decides, purely, which shards a statement touches, what SQL each one gets and how their results become one answer.
package sharding
