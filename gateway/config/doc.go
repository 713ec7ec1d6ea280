// Package config is the plain model of what sidewire should do, its strict decoding from YAML, and the one pure
// compiler that turns it into an immutable snapshot or a list of problems.
package config
