#include <stdio.h>
#include <stdlib.h>

int part(const char *text) {
    char copy[32];
    snprintf(copy, sizeof copy, "%ld", strtol(text, NULL, 10));
    return atoi(copy);
}
