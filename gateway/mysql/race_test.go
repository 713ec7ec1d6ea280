//go:build race

package mysql

// raceDetector: with it, sync.Pool forgets what it is given at random, and pooled memory is allocated anew.
const raceDetector = true
