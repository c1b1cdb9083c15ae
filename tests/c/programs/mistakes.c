/* One mistake of each kind, by which it is seen that each tool finds its own. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int counter;
static char *volatile lost;

static void *count(void *unused)
{
    int i;
    for (i = 0; i < 100000; i++)
        counter++;
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t other;
    if (argc != 2)
        return 2;
    if (strcmp(argv[1], "leak") == 0) {
        lost = malloc(10);
        lost = NULL;
    }
    if (strcmp(argv[1], "overflow") == 0) {
        lost = malloc(10);
        lost[argc + 8] = 1;
        free(lost);
    }
    if (strcmp(argv[1], "race") == 0) {
        if (pthread_create(&other, NULL, count, NULL) != 0)
            return 2;
        count(NULL);
        pthread_join(other, NULL);
    }
    return 0;
}
