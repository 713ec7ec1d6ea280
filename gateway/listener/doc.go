// Package listener accepts client connections, bounds them, and hands each to the protocol that its listener declares.
package listener
