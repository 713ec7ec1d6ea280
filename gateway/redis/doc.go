// Package redis is the room where Redis clients live: sessions, pools of upstream connections, and the engine that moves commands and
// replies between them in order.
package redis
