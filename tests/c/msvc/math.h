double log(double);
double sqrt(double);
