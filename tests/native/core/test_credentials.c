/* What is masked where a parameter's name alone does not tell. */
#include "check.h"
#include "redact.h"

#include <stdlib.h>
#include <string.h>

/* On a copy of exactly its length: reading past the end is an error of ASan. */
static bool looks_like_credential(const char *text, size_t length)
{
    char *copy = malloc(length + 1);
    CHECK(copy != NULL);
    memcpy(copy, text, length);
    copy[length] = '\0';
    bool found = gn_looks_like_credential(copy, length);
    free(copy);
    return found;
}

#define SECRET(text)                                                                               \
    do {                                                                                           \
        if (!looks_like_credential(text, sizeof(text) - 1))                                        \
            check_failed(__FILE__, __LINE__, "\"%s\" was not masked", text);                       \
    } while (0)

#define HARMLESS(text)                                                                             \
    do {                                                                                           \
        if (looks_like_credential(text, sizeof(text) - 1))                                         \
            check_failed(__FILE__, __LINE__, "\"%s\" was masked", text);                           \
    } while (0)

TEST(keys_with_a_known_prefix_are_credentials)
{
    SECRET("sk-example0example0");
    SECRET("sk-proj-Example0Example0");
    SECRET("hf_ExAmPlEeXaMpLe");
    SECRET("ghp_Example0Example0");
    SECRET("gho_Example0Example0");
    SECRET("ghs_Example0Example0");
    SECRET("github_pat_11EXAMPLE0");
    SECRET("glpat-Example0Example");
    SECRET("xoxb-1234-example");
    SECRET("xoxp-1234-example");
    SECRET("AKIAEXAMPLE0EXAMPLE0");
    SECRET("ASIAEXAMPLE0EXAMPLE0");
    SECRET("AIzaExample0Example0");
    SECRET("eyJhbGciOiJub25lIn0.e30.");
    SECRET("ya29.Example0Example0");
    SECRET("nvapi-Example0Example0");
    SECRET("gsk_Example0Example0");
    SECRET("pypi-Example0Example0");
    SECRET("npm_Example0Example0");
}

TEST(what_an_http_header_carries_is_a_credential)
{
    SECRET("Bearer Example0Example0");
    SECRET("bearer Example0Example0");
    SECRET("Basic dXNlcjpwYXNzd29yZA==");
    SECRET("BASIC dXNlcjpwYXNzd29yZA==");
}

TEST(a_private_key_is_a_credential)
{
    SECRET("-----BEGIN RSA PRIVATE KEY-----\nMIIE");
}

TEST(long_random_words_are_credentials)
{
    SECRET("q7Rk2LmX9vTz4BnW8cYp3HdJ"); /* both cases and digits */
    SECRET("9f86d081884c7d659a2feaa0c55ad015"); /* lower-case hex */
    SECRET("9F86D081884C7D659A2FEAA0C55AD015"); /* upper-case hex */
    SECRET("q7Rk2LmX-9vTz4BnW_8cYp3HdJ"); /* with the signs of base64url */
}

TEST(a_random_word_is_one_from_24_characters_on)
{
    SECRET("q7Rk2LmX9vTz4BnW8cYp3HdJ");
    HARMLESS("q7Rk2LmX9vTz4BnW8cYp3Hd");
}

TEST(a_prefix_alone_is_no_credential)
{
    HARMLESS("");
    HARMLESS("sk-");
    HARMLESS("hf_");
    HARMLESS("eyJ");
    HARMLESS("Bearer ");
    HARMLESS("sk-learn");
    HARMLESS("-----BEGIN");
}

TEST(a_prefix_in_the_middle_is_no_credential)
{
    HARMLESS("risk-assessment");
    HARMLESS("task-scheduler-main");
}

TEST(token_ids_and_pieces_of_text_are_no_credentials)
{
    HARMLESS("token_17");
    HARMLESS("17");
    HARMLESS("12345678901234567890123456789012"); /* digits only */
    HARMLESS("hello");
    HARMLESS("hello world");
    HARMLESS(" the");
    HARMLESS("\xe2\x96\x81Hello");
    HARMLESS("<|endoftext|>");
    HARMLESS("<0x0A>");
    HARMLESS("antidisestablishmentarianism"); /* letters only */
    HARMLESS("question1987 and answer2024");
    HARMLESS("l\xc3\xa4nge1987breite2024\xc3\xb6" "ffnung");
}

TEST(kv_cache_keys_and_names_of_tensors_are_no_credentials)
{
    HARMLESS("blk.0.attn_k.weight");
    HARMLESS("blk31.attn1024norm2048weights");
    HARMLESS("model.layers.0.self_attn.q_proj.weight");
    HARMLESS("past_key_values");
    HARMLESS("cache_k_l31");
    HARMLESS("session0001:position000017");
}

TEST(a_path_is_no_credential)
{
    HARMLESS("models2024/checkpoint00042000");
}

TEST(a_word_with_many_signs_is_no_credential)
{
    HARMLESS("run-2024-01-17-12-30-45-abcdef");
}

TEST(only_the_given_length_is_looked_at)
{
    /* GIVEN a key of which only the first letters are the text */
    static const char text[] = "sk-Example0Example0";
    /* THEN the rest does not count */
    CHECK(!gn_looks_like_credential(text, 11));
    CHECK(gn_looks_like_credential(text, 12));
}
