package kafka

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"strings"
)

// sealed begins a cursor that no topic's name begins with.
const sealed = "?"

// cursors seal the places at which lists of topics go on where a place is a topic that the client may not see. Clients hand a cursor
// back as they got it; with one that another process sealed, or this one before it was started anew, the list begins again.
type cursors struct{ aead cipher.AEAD }

func newCursors() (cursors, error) {
	var key [16]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return cursors{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return cursors{aead}, err
}

func (c cursors) seal(topic string) string {
	return sealed + base64.RawURLEncoding.EncodeToString(c.aead.Seal(nil, nil, []byte(topic), nil))
}

// open returns what was sealed, and as they are names that were not. What cannot be opened is the beginning: no topic is missed so.
func (c cursors) open(name string) (topic string) {
	text, ok := strings.CutPrefix(name, sealed)
	if !ok {
		return name
	}
	box, _ := base64.RawURLEncoding.DecodeString(text)
	plain, _ := c.aead.Open(nil, nil, box, nil)
	return string(plain)
}
