package listener

import (
	"context"
	"errors"

	"github.com/sidewire/sidewire/gateway/config"
)

// Handler is a protocol at work on one listener. It is made by the protocol, and outlives changes of its configuration.
type Handler interface {
	// Handle owns c until it closes it. It runs on a goroutine of c's own; a protocol with an event loop may hand the
	// descriptor over and return at once. ctx ends when its sessions are cut at the end of a drain; c is interrupted then,
	// again and again, until it is closed. A panic is recovered, logged and closes c.
	Handle(ctx context.Context, c *Conn)
	// Refuse says in the protocol's own words why c is not served. The caller bounds its writes and closes c.
	Refuse(c *Conn, why error)
	// Update takes a new block, and maybe a new name, for the same address. Sessions stay, and see it at their next
	// statement. An error refuses the whole configuration and must leave the handler as it was. The snapshot it belongs to is
	// not in force yet, and when something else refuses it, Update is called with the old one again: what cannot be taken
	// back, such as ending the sessions of users that are gone, is left to Settle.
	Update(l *config.Listener) error
	// Drain ends sessions at their next boundary, those that begin while it lasts too. It returns when all are gone or ctx
	// is done. It may be called more than once, also at the same time.
	Drain(ctx context.Context)
	// Close ends what is left and waits only for what ends at once. It is called once.
	Close()
}

// Settler is implemented by handlers that have something to do when the configuration of their last Update is in force.
type Settler interface{ Settle() }

// StartTLS is implemented by handlers whose protocol begins TLS inside its own handshake: the listener then leaves
// connections plain.
type StartTLS interface{ StartTLS() bool }

// Reasons for a refusal. Protocols word them as their servers would.
var (
	ErrTooManyConnections = errors.New("too many connections")
	ErrTooManyFromSource  = errors.New("too many connections from one address")
	ErrTooFast            = errors.New("too many new connections per second")
	ErrNoMemory           = errors.New("out of memory for further connections")
	ErrDraining           = errors.New("shutting down")
)
