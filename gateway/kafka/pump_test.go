package kafka

import (
	"net"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/socket"
)

// A frame that has begun must go on: a few bytes of a length and nothing behind them hold a connection no longer than half a body.
// What is large has time for its size.
func TestStalledFramesEnd(t *testing.T) {
	const stall = 100 * time.Millisecond
	for _, c := range []struct {
		name        string
		first, then int // bytes that come at once, and after twice the stall time
		want        error
	}{
		{"part of a length", 2, 0, errStalled},
		{"part of a header", 8, 0, errStalled},
		{"a large frame that comes in pieces", 8, 64 << 10, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			defer server.Close()
			go func() {
				client.Write(make([]byte, c.first))
				if c.then > 0 {
					<-time.After(2 * stall)
					client.Write(make([]byte, c.then))
				}
			}()
			server.SetReadDeadline(time.Now().Add(20 * time.Second)) // or a stall would be waited for without an end
			p := pump{src: socket.Wrap(server), stall: stall, window: minWindow}
			defer p.release()
			err := p.fill(4)
			if err == nil {
				err = p.fill(c.first + max(c.then, 1))
			}
			if err != c.want {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}
