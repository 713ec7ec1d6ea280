// Package mysql tests sidewire's MySQL side before real servers.
package mysql
