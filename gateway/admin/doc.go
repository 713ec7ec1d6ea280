// Package admin is the HTTP interface for operators, probes and Prometheus, in the shapes that Envoy's has.
package admin
