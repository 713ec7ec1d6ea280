package redis

import (
	"testing"
	"time"
)

// A server told to CLIENT PAUSE stops at the first command that it holds up: nobody else's commands may stand behind that one.
func TestPausedServerHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t, 11, 1, modeSingle)
	first, second, third := w.client(), w.client(), w.client()
	first.ask("+OK\r\n", "CLIENT", "PAUSE", "60000", "WRITE")
	w.run()
	second.ask("never", "APPEND", "k", "v") // what a paused server does with a write
	third.ask("$-1\r\n", "GET", "k")
	w.run()
	if third.done != 1 {
		t.Fatal("a read waits behind a write that is paused")
	}
	first.ask("+OK\r\n", "CLIENT", "UNPAUSE")
	w.run()
	if first.done != 2 {
		t.Fatal("CLIENT UNPAUSE waits behind what it is to release")
	}
	third.ask("$-1\r\n", "GET", "k")
	w.run()
	if third.done != 2 || third.session.lease != nil {
		t.Fatal("after the pause commands do not share a connection again")
	}
}

func TestPauseEndsByItself(t *testing.T) {
	w := newWorld(t, 12, 1, modeSingle)
	c := w.client()
	c.ask("+OK\r\n", "CLIENT", "PAUSE", "500")
	w.run()
	if w.up.handlers != &paused {
		t.Fatal("the pause went unnoticed")
	}
	w.pass(time.Second)
	c.ask("$-1\r\n", "GET", "k")
	w.finish()
	if w.up.handlers != &single {
		t.Fatal("the pause has no end")
	}
}
