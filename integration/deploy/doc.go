// Package deploy checks what sidewire offers to Prometheus with Prometheus's own tool.
package deploy
