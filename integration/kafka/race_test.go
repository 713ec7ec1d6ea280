//go:build race

package kafka_test

// raceDetector: it allocates on its own account.
const raceDetector = true
