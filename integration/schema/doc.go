// Package schema checks the configuration's JSON Schema with a validator that is not ours.
package schema
