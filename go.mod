module github.com/sidewire/sidewire

go 1.26
