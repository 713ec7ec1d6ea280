package mysql

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
)

// NewNonce reads a nonce from random. Its bytes avoid NUL, which ends it on the
// wire, and '$', which stored hashes use as a separator.
func NewNonce(random io.Reader) ([]byte, error) {
	n := make([]byte, NonceLen)
	if _, err := io.ReadFull(random, n); err != nil {
		return nil, fmt.Errorf("drawing a nonce: %w", err)
	}
	for i, c := range n {
		c &= 0x7f
		if c == 0 || c == '$' {
			c++
		}
		n[i] = c
	}
	return n, nil
}

// ScrambleNative is the answer of mysql_native_password:
// SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password))); empty for no password.
func ScrambleNative(nonce []byte, password string) []byte {
	if password == "" {
		return nil
	}
	stage1 := sha1.Sum([]byte(password))
	stage2 := sha1.Sum(stage1[:])
	h := sha1.New()
	h.Write(nonce)
	h.Write(stage2[:])
	out := h.Sum(nil)
	subtle.XORBytes(out, out, stage1[:])
	return out
}

// ScrambleSHA2 is the fast answer of caching_sha2_password:
// SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce); empty for no password.
func ScrambleSHA2(nonce []byte, password string) []byte {
	if password == "" {
		return nil
	}
	stage1 := sha256.Sum256([]byte(password))
	stage2 := sha256.Sum256(stage1[:])
	h := sha256.New()
	h.Write(stage2[:])
	h.Write(nonce)
	out := h.Sum(nil)
	subtle.XORBytes(out, out, stage1[:])
	return out
}

// sealPassword encrypts a password for a server's public key, as
// caching_sha2_password wants it where there is no TLS: the password and its NUL
// XOR the nonce, repeated, under RSA-OAEP with SHA-1.
func sealPassword(password string, nonce, keyPEM []byte) ([]byte, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, fmt.Errorf("reading the server's public key: %w: no PEM block", ErrMalformed)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the server's public key: %w", err)
	}
	key, ok := pub.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("reading the server's public key: it is %T, not RSA", pub)
	}
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, key, maskPassword(append([]byte(password), 0), nonce), nil)
	if err != nil {
		return nil, fmt.Errorf("encrypting the password: %w", err)
	}
	return sealed, nil
}

// openPassword is the other end of sealPassword.
func openPassword(sealed, nonce []byte, key *rsa.PrivateKey) (string, error) {
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, key, sealed, nil)
	if err != nil {
		return "", fmt.Errorf("decrypting the password: %w", err)
	}
	return cutNUL(maskPassword(plain, nonce)), nil
}

func maskPassword(p, nonce []byte) []byte {
	for i := range p {
		p[i] ^= nonce[i%len(nonce)]
	}
	return p
}

func cutNUL(p []byte) string {
	for i, c := range p {
		if c == 0 {
			return string(p[:i])
		}
	}
	return string(p)
}

// PublicKeyPEM is what a server hands to clients that ask for its key.
func PublicKeyPEM(key *rsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
