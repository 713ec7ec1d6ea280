package config

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
)

// Env is all that decoding may ask of the world outside the file. It is passed in, so that decoding stays a function of
// its inputs, and it remembers which files were read, so that they can be watched.
type Env struct {
	LookupEnv func(name string) (string, bool)
	ReadFile  func(path string) ([]byte, error)
	Dir       string // relative paths are relative to it

	secrets map[string]Secret
	files   map[string]bool
}

// SystemEnv asks the process's environment and file system; relative paths are relative to the folder of file.
func SystemEnv(file string) *Env {
	return &Env{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile, Dir: filepath.Dir(file)}
}

// Files are the files that were read, sorted.
func (e *Env) Files() []string {
	names := make([]string, 0, len(e.files))
	for name := range e.files {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Read reads a file that the configuration names and remembers that it did.
func (e *Env) Read(name string) ([]byte, error) { return e.readFile(name) }

func (e *Env) lookupEnv(name string) (string, bool) {
	if e == nil || e.LookupEnv == nil {
		return "", false
	}
	return e.LookupEnv(name)
}

// maxFileSize bounds what one named file may hold; rule files of thousands of tables stay far below it.
const maxFileSize = 64 << 20

func (e *Env) readFile(name string) ([]byte, error) {
	if e == nil || e.ReadFile == nil {
		return nil, fmt.Errorf("opening %s: files are not available here", name)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(e.Dir, name)
	}
	if e.files == nil {
		e.files = map[string]bool{}
	}
	e.files[name] = true
	data, err := e.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("reading %s: file has %d bytes, at most %d are taken", name, len(data), maxFileSize)
	}
	return data, nil
}

func (e *Env) secret(name string) (Secret, bool) {
	if e == nil {
		return Secret{}, false
	}
	s, ok := e.secrets[name]
	return s, ok
}

func (e *Env) secretNames() []string {
	if e == nil {
		return nil
	}
	names := make([]string, 0, len(e.secrets))
	for name := range e.secrets {
		names = append(names, name)
	}
	return names
}
