package mysql

import (
	"context"
	"testing"
	"time"
)

// Two drains of one listener, an operator's and the end of the process, both learn that the last session has left.
func TestTwoDrainsEndTogether(t *testing.T) {
	m := &handler{sessions: map[uint32]*session{}}
	waiting := make(chan struct{})
	m.gone = waiting                        // a drain that waits already
	s := &session{id: 1, begun: time.Now()} // at work
	m.sessions[1] = s
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	time.AfterFunc(20*time.Millisecond, func() { m.left(s) })
	m.Drain(ctx)
	select {
	case <-waiting:
	default:
		t.Fatal("the first drain was forgotten")
	}
}
