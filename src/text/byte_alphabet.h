/* byte_alphabet.h - GPT-2's visible alphabet: every byte as one character. Printable Latin-1 stands for itself, the
 * other 68 bytes are U+0100, U+0101, ... in order. Radford et al. 2019 (bytes_to_unicode). */
#ifndef TEXT_BYTE_ALPHABET_H
#define TEXT_BYTE_ALPHABET_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "text/tok_text.h"

int32_t rt_byte_alphabet_char(uint8_t byte);
int rt_byte_alphabet_byte(int32_t character); /* -1: not of the alphabet */
/* Appends bytes [begin, end) of a view, each as its character. */
void rt_byte_alphabet_spell(const tok_view *v, size_t begin, size_t end, tok_text *out);
/* The bytes a token stands for into out (room for n): their number, or n and a plain copy when a character is not of
 * the alphabet (added tokens may hold any). */
size_t rt_byte_alphabet_undo(const char *token, size_t n, char *out);
#endif
